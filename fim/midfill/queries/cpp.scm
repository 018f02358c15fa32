; How these files are read is written in ../languages.py.

(preproc_include) @import
(using_declaration) @import

(namespace_definition name: (_) @name body: (declaration_list) @scope.body) @definition.module @scope
(class_specifier name: (_) @name body: (field_declaration_list) @scope.body) @definition.class @scope
(struct_specifier name: (_) @name body: (field_declaration_list) @scope.body) @definition.class @scope
(union_specifier name: (_) @name body: (field_declaration_list) @scope.body) @definition.class @scope
(enum_specifier name: (_) @name body: (enumerator_list) @scope.body) @definition.enum @scope
(field_declaration_list
  (function_definition
    declarator: [
      (function_declarator declarator: (_) @name)
      (pointer_declarator (function_declarator declarator: (_) @name))
      (reference_declarator (function_declarator declarator: (_) @name))
    ]
    body: (compound_statement) @scope.body) @definition.method @scope)
(function_definition
  declarator: [
    (function_declarator declarator: (_) @name)
    (pointer_declarator (function_declarator declarator: (_) @name))
    (reference_declarator (function_declarator declarator: (_) @name))
  ]
  body: (compound_statement) @scope.body) @definition.function @scope
(field_declaration declarator: (function_declarator declarator: (_) @name)) @definition.method
(field_declaration_list (declaration declarator: (function_declarator declarator: (_) @name)) @definition.method)
(translation_unit (declaration declarator: (function_declarator declarator: (_) @name)) @definition.function)
(type_definition declarator: (type_identifier) @name) @definition.type
(alias_declaration name: (_) @name) @definition.type
(preproc_ifdef (declaration declarator: (function_declarator declarator: (_) @name)) @definition.function)
(preproc_if (declaration declarator: (function_declarator declarator: (_) @name)) @definition.function)
(declaration_list (declaration declarator: (function_declarator declarator: (_) @name)) @definition.function)
(preproc_def name: (_) @name) @definition.constant
(preproc_function_def name: (_) @name) @definition.macro

(comment) @comment
(string_literal) @string
(raw_string_literal) @string
(system_lib_string) @string
(char_literal) @string
