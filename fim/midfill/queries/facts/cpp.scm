; How these files are read is written in ../../code_facts.py.

[(function_definition) (lambda_expression)] @function

(parameter_list (_) @parameter)

(return_statement (_) @return)
(throw_statement (_) @raise)
(call_expression function: (_) @call)
(new_expression type: (_) @call)

(assignment_expression left: [(field_expression) (subscript_expression) (pointer_expression)] @write)
(update_expression argument: [(field_expression) (subscript_expression) (pointer_expression)] @write)

[(if_statement) (for_statement) (for_range_loop) (while_statement) (do_statement) (case_statement) (catch_clause)
 (conditional_expression)] @branch
(binary_expression operator: ["&&" "||"] @branch)

(comment) @attached
