; How these files are read is written in ../../code_facts.py.

[(function_definition) (lambda_expression)] @function

(function_definition declarator: (function_declarator parameters: (parameter_list (_) @parameter)))
(function_definition declarator: (_ (function_declarator parameters: (parameter_list (_) @parameter))))
(function_definition declarator: (_ (_ (function_declarator parameters: (parameter_list (_) @parameter)))))
(parameter_list (_) @local)
(init_declarator declarator: (_) @local)
(declaration declarator: [(identifier) (array_declarator) (function_declarator) (pointer_declarator)] @local)
(lambda_expression declarator: (_ parameters: (parameter_list (_) @parameter)))
(for_range_loop declarator: (_) @local)

(return_statement (_) @return)
(throw_statement (_) @raise)
(call_expression function: (_) @call)
(new_expression type: (_) @call)

(assignment_expression left: [(field_expression) (subscript_expression) (pointer_expression)] @write)
(update_expression argument: [(field_expression) (subscript_expression) (pointer_expression)] @write)
(assignment_expression left: (qualified_identifier) @write)
(update_expression argument: (qualified_identifier) @write)
(assignment_expression left: (identifier) @target)
(update_expression argument: (identifier) @target)

[(if_statement) (for_statement) (for_range_loop) (while_statement) (do_statement) (catch_clause)
 (conditional_expression)] @branch
(case_statement value: (_)) @branch
(binary_expression operator: ["&&" "||"] @branch)

(comment) @attached
(template_declaration "template" @attached parameters: (_) @attached)

(field_declaration declarator: (field_identifier) @member)
(field_declaration declarator: (_ (field_identifier) @member))
(enumerator name: (_) @member)
