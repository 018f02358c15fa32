; How these files are read is written in ../../code_facts.py.

[(method_declaration) (constructor_declaration) (compact_constructor_declaration) (lambda_expression)] @function

(formal_parameters (_) @parameter)
(lambda_expression parameters: (identifier) @parameter)
(inferred_parameters (_) @parameter)
(variable_declarator name: (_) @local)
(enhanced_for_statement name: (_) @local)
(resource name: (_) @local)
(catch_formal_parameter name: (_) @local)
(method_declaration type: (_) @type)

(return_statement (_) @return)
(throw_statement (_) @raise)
(throws (_) @raise)
(method_invocation) @call
(explicit_constructor_invocation) @call
(object_creation_expression type: (_) @call)

(assignment_expression left: [(field_access) (array_access)] @write)
(update_expression [(field_access) (array_access)] @write)
(assignment_expression left: (identifier) @target)
(update_expression (identifier) @target)

[(if_statement) (for_statement) (enhanced_for_statement) (while_statement) (do_statement) (catch_clause)
 (ternary_expression)] @branch
(switch_label . (_)) @branch
(binary_expression operator: ["&&" "||"] @branch)

(line_comment) @attached
(block_comment) @attached

(field_declaration declarator: (variable_declarator name: (_) @member))
(enum_constant name: (_) @member)
