; How these files are read is written in ../languages.py.

(import_statement) @import
(import_from_statement) @import
(future_import_statement) @import

(class_definition name: (identifier) @name body: (block) @scope.body) @definition.class @scope

(class_definition
  body: (block
    [
      (function_definition name: (identifier) @name body: (block) @scope.body) @definition.method @scope
      (decorated_definition
        definition: (function_definition name: (identifier) @name body: (block) @scope.body) @definition.method @scope)
    ]))

(function_definition name: (identifier) @name body: (block) @scope.body) @definition.function @scope

(module (expression_statement (assignment left: (identifier) @name) @definition.constant))

(comment) @comment
(string) @string
(interpolation) @code
