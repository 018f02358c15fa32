; How these files are read is written in ../../definitions.py.

(import_statement name: (dotted_name) @import.module)
(import_statement name: (aliased_import name: (dotted_name) @import.module alias: (_) @import.alias))
(import_from_statement module_name: (_) @import.module name: (dotted_name) @import.name)
(import_from_statement
  module_name: (_) @import.module
  name: (aliased_import name: (dotted_name) @import.name alias: (_) @import.alias))
(import_from_statement module_name: (_) @import.module (wildcard_import) @import.all)
