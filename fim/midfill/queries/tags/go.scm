; How these files are read is written in ../../definitions.py.

(import_spec name: (package_identifier)? @import.alias path: (_) @import.module)
(import_spec name: (dot) @import.all path: (_) @import.module)
