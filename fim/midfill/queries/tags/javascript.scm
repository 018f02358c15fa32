; How these files are read is written in ../../definitions.py.

(import_statement (import_clause (identifier) @import.default) source: (string) @import.module)
(import_statement
  (import_clause (namespace_import (identifier) @import.alias))
  source: (string) @import.module)
(import_statement
  (import_clause (named_imports (import_specifier name: (_) @import.name alias: (_)? @import.alias)))
  source: (string) @import.module)
(export_statement
  (export_clause (export_specifier name: (_) @import.name alias: (_)? @import.alias))
  source: (string) @import.module)
(export_statement "*" @import.all source: (string) @import.module)
(variable_declarator
  name: (identifier) @import.alias
  value: (call_expression function: (identifier) @_function arguments: (arguments . (string) @import.module))
  (#eq? @_function "require"))
(variable_declarator
  name: (object_pattern (shorthand_property_identifier_pattern) @import.name)
  value: (call_expression function: (identifier) @_function arguments: (arguments . (string) @import.module))
  (#eq? @_function "require"))
(variable_declarator
  name: (object_pattern (pair_pattern key: (_) @import.name value: (identifier) @import.alias))
  value: (call_expression function: (identifier) @_function arguments: (arguments . (string) @import.module))
  (#eq? @_function "require"))
(export_statement "default" declaration: (_ name: (_) @export.default))
(export_statement "default" value: (identifier) @export.default)
