; How these files are read is written in ../languages.py.

(import_statement) @import
(export_statement source: (string)) @import
(lexical_declaration
  (variable_declarator value: (call_expression function: (identifier) @_function))
  (#eq? @_function "require")) @import
(variable_declaration
  (variable_declarator value: (call_expression function: (identifier) @_function))
  (#eq? @_function "require")) @import

(class_declaration name: (_) @name body: (class_body) @scope.body) @definition.class @scope
(class name: (_) @name body: (class_body) @scope.body) @definition.class @scope
(method_definition name: (_) @name body: (statement_block) @scope.body) @definition.method @scope
(public_field_definition
  name: (_) @name
  value: [(arrow_function body: (_) @scope.body) (function_expression body: (_) @scope.body)]) @definition.method @scope
(function_declaration name: (_) @name body: (statement_block) @scope.body) @definition.function @scope
(generator_function_declaration name: (_) @name body: (statement_block) @scope.body) @definition.function @scope
(lexical_declaration
  (variable_declarator
    name: (identifier) @name
    value: [(arrow_function body: (_) @scope.body) (function_expression body: (_) @scope.body)])) @definition.function @scope
(variable_declaration
  (variable_declarator
    name: (identifier) @name
    value: [(arrow_function body: (_) @scope.body) (function_expression body: (_) @scope.body)])) @definition.function @scope
(assignment_expression
  left: (_) @name
  right: [(arrow_function body: (_) @scope.body) (function_expression body: (_) @scope.body)]) @definition.function @scope
(pair
  key: (_) @name
  value: [(arrow_function body: (_) @scope.body) (function_expression body: (_) @scope.body)]) @definition.method @scope
(program (lexical_declaration (variable_declarator name: (identifier) @name)) @definition.constant)
(program (export_statement (lexical_declaration (variable_declarator name: (identifier) @name)) @definition.constant))

(abstract_class_declaration name: (_) @name body: (class_body) @scope.body) @definition.class @scope
(interface_declaration name: (_) @name body: (interface_body) @scope.body) @definition.interface @scope
(enum_declaration name: (_) @name body: (enum_body) @scope.body) @definition.enum @scope
(internal_module name: (_) @name body: (statement_block) @scope.body) @definition.module @scope
(module name: (_) @name body: (statement_block) @scope.body) @definition.module @scope
(type_alias_declaration name: (_) @name) @definition.type
(method_signature name: (_) @name) @definition.method
(abstract_method_signature name: (_) @name) @definition.method

(comment) @comment
(string) @string
(template_string) @string
(regex) @string
(template_substitution) @code
