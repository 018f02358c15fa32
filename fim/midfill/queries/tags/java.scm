; How these files are read is written in ../../definitions.py.

(import_declaration (scoped_identifier scope: (_) @import.module name: (_) @import.name) .)
(import_declaration (scoped_identifier) @import.module (asterisk) @import.all)
