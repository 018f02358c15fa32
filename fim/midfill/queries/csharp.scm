; How these files are read is written in ../languages.py.

(using_directive) @import

(namespace_declaration name: (_) @name body: (declaration_list) @scope.body) @definition.module @scope
(class_declaration name: (_) @name body: (declaration_list) @scope.body) @definition.class @scope
(struct_declaration name: (_) @name body: (declaration_list) @scope.body) @definition.class @scope
(record_declaration name: (_) @name body: (declaration_list) @scope.body) @definition.class @scope
(record_declaration name: (_) @name) @definition.class
(interface_declaration name: (_) @name body: (declaration_list) @scope.body) @definition.interface @scope
(enum_declaration name: (_) @name body: (enum_member_declaration_list) @scope.body) @definition.enum @scope
(constructor_declaration name: (_) @name body: (_) @scope.body) @definition.method @scope
(method_declaration name: (_) @name body: (_) @scope.body) @definition.method @scope
(method_declaration name: (_) @name) @definition.method
(local_function_statement name: (_) @name body: (_) @scope.body) @definition.function @scope
(property_declaration name: (_) @name accessors: (accessor_list) @scope.body) @definition.property @scope

(comment) @comment
(string_literal) @string
(verbatim_string_literal) @string
(raw_string_literal) @string
(character_literal) @string
(interpolated_string_expression) @string
(interpolation) @code
