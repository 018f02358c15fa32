; How these files are read is written in ../languages.py.

(import_declaration) @import

(class_declaration name: (_) @name body: (class_body) @scope.body) @definition.class @scope
(record_declaration name: (_) @name body: (class_body) @scope.body) @definition.class @scope
(interface_declaration name: (_) @name body: (interface_body) @scope.body) @definition.interface @scope
(annotation_type_declaration name: (_) @name body: (annotation_type_body) @scope.body) @definition.interface @scope
(enum_declaration name: (_) @name body: (enum_body) @scope.body) @definition.enum @scope
(constructor_declaration name: (_) @name body: (constructor_body) @scope.body) @definition.method @scope
(method_declaration name: (_) @name body: (block) @scope.body) @definition.method @scope
(method_declaration name: (_) @name) @definition.method

(line_comment) @comment
(block_comment) @comment
(string_literal) @string
(character_literal) @string
