; How these files are read is written in ../languages.py.

(pair key: (string (string_content) @name) value: [(object) (array)] @scope.body) @scope.pair
(document (object (pair key: (string (string_content) @name)) @definition.key))

(comment) @comment
(string) @string
