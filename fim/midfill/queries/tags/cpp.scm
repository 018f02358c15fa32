; How these files are read is written in ../../definitions.py.

(preproc_include path: (_) @import.module) @import.all
