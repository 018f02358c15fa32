; How these files are read is written in ../../definitions.py.

(namespace_use_clause
  (qualified_name prefix: (_) @import.module (name) @import.name)
  alias: (_)? @import.alias)
