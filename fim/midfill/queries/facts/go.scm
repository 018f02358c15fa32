; How these files are read is written in ../../code_facts.py.

[(function_declaration) (method_declaration) (func_literal)] @function

(function_declaration parameters: (parameter_list (_) @parameter))
(method_declaration parameters: (parameter_list (_) @parameter))
(func_literal parameters: (parameter_list (_) @parameter))
(function_declaration result: (_) @type)
(method_declaration result: (_) @type)

(return_statement (_) @return)
(call_expression function: (identifier) @_panic arguments: (_) @raise (#eq? @_panic "panic"))
(call_expression function: (_) @call)

(assignment_statement left: (expression_list [(selector_expression) (index_expression) (unary_expression)] @write))
(inc_statement [(selector_expression) (index_expression)] @write)
(dec_statement [(selector_expression) (index_expression)] @write)

[(if_statement) (for_statement) (expression_case) (type_case) (communication_case)] @branch
(binary_expression operator: ["&&" "||"] @branch)

(comment) @attached
