; How these files are read is written in ../languages.py.

(import_statement) @import

(rule_set (selectors) @name (block) @scope.body) @definition.rule @scope
(keyframes_statement (keyframes_name) @name (keyframe_block_list) @scope.body) @definition.rule @scope
(media_statement (_) @name . (block) @scope.body) @scope.media

(comment) @comment
(string_value) @string
