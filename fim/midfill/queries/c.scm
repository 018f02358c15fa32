; How these files are read is written in ../languages.py.

(preproc_include) @import

(function_definition
  declarator: [
    (function_declarator declarator: (_) @name)
    (pointer_declarator (function_declarator declarator: (_) @name))
    (pointer_declarator (pointer_declarator (function_declarator declarator: (_) @name)))
  ]
  body: (compound_statement) @scope.body) @definition.function @scope
(struct_specifier name: (_) @name body: (field_declaration_list) @scope.body) @definition.class @scope
(union_specifier name: (_) @name body: (field_declaration_list) @scope.body) @definition.class @scope
(enum_specifier name: (_) @name body: (enumerator_list) @scope.body) @definition.enum @scope
(type_definition
  type: (struct_specifier body: (field_declaration_list) @scope.body)
  declarator: (type_identifier) @name) @definition.class @scope
(type_definition declarator: (type_identifier) @name) @definition.type
(translation_unit (declaration declarator: (function_declarator declarator: (_) @name)) @definition.function)
(translation_unit
  (declaration declarator: (pointer_declarator (function_declarator declarator: (_) @name))) @definition.function)
(preproc_ifdef (declaration declarator: (function_declarator declarator: (_) @name)) @definition.function)
(preproc_if (declaration declarator: (function_declarator declarator: (_) @name)) @definition.function)
(preproc_ifdef
  (declaration declarator: (pointer_declarator (function_declarator declarator: (_) @name))) @definition.function)
(preproc_if
  (declaration declarator: (pointer_declarator (function_declarator declarator: (_) @name))) @definition.function)
(preproc_def name: (_) @name) @definition.constant
(preproc_function_def name: (_) @name) @definition.macro

(comment) @comment
(string_literal) @string
(system_lib_string) @string
(char_literal) @string
