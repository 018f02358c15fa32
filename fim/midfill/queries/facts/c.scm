; How these files are read is written in ../../code_facts.py.

(function_definition) @function

(parameter_list (_) @parameter)

(return_statement (_) @return)
(call_expression function: (_) @call)

(assignment_expression left: [(field_expression) (subscript_expression) (pointer_expression)] @write)
(update_expression argument: [(field_expression) (subscript_expression) (pointer_expression)] @write)

[(if_statement) (for_statement) (while_statement) (do_statement) (case_statement) (conditional_expression)] @branch
(binary_expression operator: ["&&" "||"] @branch)

(comment) @attached
