; How these files are read is written in ../../definitions.py.

(use_declaration argument: (scoped_identifier path: (_) @import.module name: (_) @import.name))
(use_declaration
  argument: (use_as_clause
    path: (scoped_identifier path: (_) @import.module name: (_) @import.name)
    alias: (_) @import.alias))
(use_declaration argument: (use_wildcard (_) @import.module) @import.all)
(use_declaration
  argument: (scoped_use_list path: (_) @import.module list: (use_list (identifier) @import.name)))
(use_declaration
  argument: (scoped_use_list
    path: (_) @import.module
    list: (use_list (use_as_clause path: (identifier) @import.name alias: (_) @import.alias))))
(use_declaration argument: (scoped_use_list path: (_) @import.module list: (use_list (self))))
