; How these files are read is written in ../../code_facts.py.

[(function_item) (closure_expression)] @function

(function_item parameters: (parameters (_) @parameter))
(closure_expression parameters: (closure_parameters (_) @parameter))
(function_item return_type: (_) @type)

(return_expression (_) @return)
(function_item body: (block [(identifier) (call_expression) (field_expression) (binary_expression) (macro_invocation)
  (struct_expression) (reference_expression) (unary_expression) (try_expression)] @return .))
(macro_invocation macro: (identifier) @_macro
  (#any-of? @_macro "panic" "unreachable" "todo" "unimplemented" "bail")) @raise
(try_expression) @raise
(call_expression function: (_) @call)
(macro_invocation macro: (_) @call)

(assignment_expression left: (tuple_expression [(field_expression) (index_expression) (unary_expression)] @write))
((compound_assignment_expr left: (identifier) @write) (#match? @write "^[A-Z][A-Z0-9_]*$"))
((assignment_expression left: (identifier) @write) (#match? @write "^[A-Z][A-Z0-9_]*$"))
(assignment_expression left: [(field_expression) (index_expression) (unary_expression)] @write)
(compound_assignment_expr left: [(field_expression) (index_expression) (unary_expression)] @write)

[(if_expression) (for_expression) (while_expression) (try_expression)] @branch
(match_block (match_arm) . (match_arm) @branch)
(binary_expression operator: ["&&" "||"] @branch)

(line_comment) @attached
(block_comment) @attached
(attribute_item) @attached

(field_declaration name: (_) @member)
(enum_variant name: (_) @member)
