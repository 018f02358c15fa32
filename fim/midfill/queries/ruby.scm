; How these files are read is written in ../languages.py.

((call method: (identifier) @_method arguments: (argument_list (string)) @_arguments) @import
  (#any-of? @_method "require" "require_relative" "load"))

(module name: (_) @name body: (body_statement) @scope.body) @definition.module @scope
(module name: (_) @name) @definition.module @scope
(class name: (_) @name body: (body_statement) @scope.body) @definition.class @scope
(class name: (_) @name) @definition.class @scope
(method name: (_) @name body: (body_statement) @scope.body) @definition.method @scope
(method name: (_) @name) @definition.method @scope
(singleton_method name: (_) @name body: (body_statement) @scope.body) @definition.method @scope
(singleton_method name: (_) @name) @definition.method @scope
(assignment left: (constant) @name) @definition.constant

(comment) @comment
(string) @string
(regex) @string
(heredoc_body) @string
(string_array) @string
(interpolation) @code
