; How these files are read is written in ../../definitions.py.

(using_directive (_) @import.module) @import.all
