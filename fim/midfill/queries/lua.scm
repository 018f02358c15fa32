; How these files are read is written in ../languages.py.

((variable_declaration
  (assignment_statement (expression_list value: (function_call name: (identifier) @_function)))) @import
  (#eq? @_function "require"))
((function_call name: (identifier) @_function) @import
  (#eq? @_function "require"))

(function_declaration name: (method_index_expression) @name body: (block) @scope.body) @definition.method @scope
(function_declaration name: (method_index_expression) @name) @definition.method @scope
(function_declaration name: (_) @name body: (block) @scope.body) @definition.function @scope
(function_declaration name: (_) @name) @definition.function @scope
(assignment_statement
  (variable_list . name: (_) @name)
  (expression_list . value: (function_definition body: (block) @scope.body))) @definition.function @scope
(assignment_statement
  (variable_list . name: (_) @name)
  (expression_list . value: (function_definition))) @definition.function @scope
(field name: (_) @name value: (function_definition body: (block) @scope.body)) @definition.function @scope

(comment) @comment
(string) @string
