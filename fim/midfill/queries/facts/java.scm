; How these files are read is written in ../../code_facts.py.

[(method_declaration) (constructor_declaration) (lambda_expression)] @function

(formal_parameters (_) @parameter)
(method_declaration type: (_) @type)

(return_statement (_) @return)
(throw_statement (_) @raise)
(throws (_) @raise)
(method_invocation name: (_) @call)
(object_creation_expression type: (_) @call)

(assignment_expression left: [(field_access) (array_access)] @write)
(update_expression [(field_access) (array_access)] @write)

[(if_statement) (for_statement) (enhanced_for_statement) (while_statement) (do_statement) (catch_clause)
 (ternary_expression) (switch_label)] @branch
(binary_expression operator: ["&&" "||"] @branch)

(line_comment) @attached
(block_comment) @attached
