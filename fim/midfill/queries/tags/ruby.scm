; How these files are read is written in ../../definitions.py.

((call method: (identifier) @_method arguments: (argument_list (string) @import.module)) @import.all
  (#any-of? @_method "require" "require_relative" "load"))
