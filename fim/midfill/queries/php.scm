; How these files are read is written in ../languages.py.

(namespace_use_declaration) @import
(expression_statement
  [(require_expression) (require_once_expression) (include_expression) (include_once_expression)]) @import

(namespace_definition name: (_) @name body: (compound_statement) @scope.body) @definition.module @scope
(class_declaration name: (_) @name body: (declaration_list) @scope.body) @definition.class @scope
(interface_declaration name: (_) @name body: (declaration_list) @scope.body) @definition.interface @scope
(trait_declaration name: (_) @name body: (declaration_list) @scope.body) @definition.interface @scope
(enum_declaration name: (_) @name body: (enum_declaration_list) @scope.body) @definition.enum @scope
(method_declaration name: (_) @name body: (compound_statement) @scope.body) @definition.method @scope
(method_declaration name: (_) @name) @definition.method
(function_definition name: (_) @name body: (compound_statement) @scope.body) @definition.function @scope
(const_element (name) @name) @definition.constant

(comment) @comment
(string) @string
(encapsed_string) @string
(heredoc) @string
(nowdoc) @string
(encapsed_string (variable_name) @code)
