; How these files are read is written in ../../code_facts.py.

(function_definition) @function

(function_definition declarator: (function_declarator parameters: (parameter_list (_) @parameter)))
(function_definition declarator: (_ (function_declarator parameters: (parameter_list (_) @parameter))))
(function_definition declarator: (_ (_ (function_declarator parameters: (parameter_list (_) @parameter)))))
(parameter_list (_) @local)
(init_declarator declarator: (_) @local)
(declaration declarator: [(identifier) (array_declarator) (function_declarator) (pointer_declarator)] @local)

(return_statement (_) @return)
(call_expression function: (_) @call)

(assignment_expression left: [(field_expression) (subscript_expression) (pointer_expression)] @write)
(update_expression argument: [(field_expression) (subscript_expression) (pointer_expression)] @write)
(assignment_expression left: (identifier) @target)
(update_expression argument: (identifier) @target)

[(if_statement) (for_statement) (while_statement) (do_statement) (conditional_expression)] @branch
(case_statement value: (_)) @branch
(binary_expression operator: ["&&" "||"] @branch)

(comment) @attached

(field_declaration declarator: (field_identifier) @member)
(field_declaration declarator: (_ (field_identifier) @member))
(enumerator name: (_) @member)
