; How these files are read is written in ../../code_facts.py.

[(function_declaration) (method_declaration) (func_literal)] @function

(function_declaration parameters: (parameter_list (_) @parameter))
(method_declaration parameters: (parameter_list (_) @parameter))
(func_literal parameters: (parameter_list (_) @parameter))
(function_declaration result: (_) @type)
(method_declaration result: (_) @type)
(function_declaration result: (parameter_list (_) @local))
(method_declaration result: (parameter_list (_) @local))
(func_literal result: (parameter_list (_) @local))
(short_var_declaration left: (_) @local)
(var_spec name: (_) @local)
(range_clause left: (_) @local)
(receive_statement left: (_) @local)
(type_switch_statement alias: (_) @local)

(return_statement (_) @return)
(call_expression function: (identifier) @_panic (#eq? @_panic "panic")) @raise
(call_expression function: (_) @call)

(assignment_statement left: (expression_list [(selector_expression) (index_expression) (unary_expression)] @write))
(range_clause left: (expression_list [(selector_expression) (index_expression)] @write))
(inc_statement [(selector_expression) (index_expression)] @write)
(dec_statement [(selector_expression) (index_expression)] @write)
(assignment_statement left: (expression_list (identifier) @target))
(inc_statement (identifier) @target)
(dec_statement (identifier) @target)

[(if_statement) (for_statement) (expression_case) (type_case) (communication_case)] @branch
(binary_expression operator: ["&&" "||"] @branch)

(comment) @attached

(field_declaration name: (_) @member)
(method_elem name: (_) @member)
