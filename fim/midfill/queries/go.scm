; How these files are read is written in ../languages.py.

(import_declaration) @import

(function_declaration name: (_) @name body: (block) @scope.body) @definition.function @scope
(method_declaration name: (_) @name body: (block) @scope.body) @definition.method @scope
(type_declaration
  "type" . (type_spec name: (_) @name type: (struct_type (field_declaration_list) @scope.body))) @definition.class @scope
(type_declaration
  "type" . (type_spec name: (_) @name type: (interface_type "{" @scope.body))) @definition.interface @scope
(type_declaration "type" . (type_spec name: (_) @name)) @definition.type
(type_declaration "type" . (type_alias name: (_) @name)) @definition.type
(type_declaration "(" (type_spec name: (_) @name) @definition.type)
(source_file (const_declaration "const" . (const_spec name: (_) @name)) @definition.constant)
(source_file (const_declaration "(" (const_spec name: (_) @name) @definition.constant))
(source_file (var_declaration "var" . (var_spec name: (_) @name)) @definition.constant)

(comment) @comment
(interpreted_string_literal) @string
(raw_string_literal) @string
(rune_literal) @string
