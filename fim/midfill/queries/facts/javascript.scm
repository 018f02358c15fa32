; How these files are read is written in ../../code_facts.py.

[(function_declaration) (function_expression) (arrow_function) (method_definition) (generator_function_declaration)
 (generator_function)] @function

(formal_parameters (_) @parameter)
(arrow_function parameter: (identifier) @parameter)
(variable_declarator name: (_) @local)
(for_in_statement kind: _ left: (_) @local)
(catch_clause parameter: (_) @local)

(return_statement (_) @return)
(yield_expression (_) @return)
(arrow_function body: [
  (identifier) (call_expression) (binary_expression) (member_expression) (object) (array) (template_string)
  (parenthesized_expression) (ternary_expression) (await_expression)] @return)
(throw_statement (_) @raise)
(call_expression function: (_) @call)
(new_expression constructor: (_) @call)

(assignment_expression left: [(member_expression) (subscript_expression)] @write)
(augmented_assignment_expression left: [(member_expression) (subscript_expression)] @write)
(update_expression argument: [(member_expression) (subscript_expression)] @write)
(unary_expression operator: "delete" argument: [(member_expression) (subscript_expression)] @write)
(array_pattern [(member_expression) (subscript_expression)] @write)
(pair_pattern value: [(member_expression) (subscript_expression)] @write)
(rest_pattern [(member_expression) (subscript_expression)] @write)
(for_in_statement !kind left: [(member_expression) (subscript_expression)] @write)
(assignment_expression left: (array_pattern (identifier) @target))
(assignment_expression left: (object_pattern [
  (shorthand_property_identifier_pattern) @target (pair_pattern value: (identifier) @target) (rest_pattern (identifier) @target)]))
(for_in_statement !kind left: (identifier) @target)
(assignment_expression left: (identifier) @target)
(augmented_assignment_expression left: (identifier) @target)
(update_expression argument: (identifier) @target)

[(if_statement) (for_statement) (for_in_statement) (while_statement) (do_statement) (catch_clause) (ternary_expression)
 (switch_case)] @branch
(binary_expression operator: ["&&" "||" "??"] @branch)

(comment) @attached
(decorator) @attached

(field_definition property: (_) @member)
