; How these files are read is written in ../languages.py.

(use_declaration) @import
(extern_crate_declaration) @import

(mod_item name: (_) @name body: (declaration_list) @scope.body) @definition.module @scope
(struct_item name: (_) @name body: (field_declaration_list) @scope.body) @definition.class @scope
(struct_item name: (_) @name) @definition.class
(union_item name: (_) @name body: (field_declaration_list) @scope.body) @definition.class @scope
(enum_item name: (_) @name body: (enum_variant_list) @scope.body) @definition.enum @scope
(trait_item name: (_) @name body: (declaration_list) @scope.body) @definition.interface @scope
(impl_item type: (_) @name body: (declaration_list) @scope.body) @definition.implementation @scope
(declaration_list (function_item name: (_) @name body: (block) @scope.body) @definition.method @scope)
(function_item name: (_) @name body: (block) @scope.body) @definition.function @scope
(function_signature_item name: (_) @name) @definition.method
(macro_definition name: (_) @name) @definition.macro @scope
(type_item name: (_) @name) @definition.type
(const_item name: (_) @name) @definition.constant
(static_item name: (_) @name) @definition.constant

(line_comment) @comment
(block_comment) @comment
(string_literal) @string
(raw_string_literal) @string
(char_literal) @string
