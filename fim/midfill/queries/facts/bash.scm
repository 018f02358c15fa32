; How these files are read is written in ../../code_facts.py. No facts are known of this language, but what stands above.

(comment) @attached
