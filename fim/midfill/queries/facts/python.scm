; How these files are read is written in ../../code_facts.py.

(function_definition) @function
(lambda) @function

(function_definition parameters: (parameters (_) @parameter))
(function_definition return_type: (_) @type)

(return_statement (_) @return)
(yield (_) @return)
(raise_statement . (_) @raise)
(call function: (_) @call)

(assignment left: [(attribute) (subscript)] @write)
(augmented_assignment left: [(attribute) (subscript)] @write)
(pattern_list [(attribute) (subscript)] @write)
(tuple_pattern [(attribute) (subscript)] @write)
(list_pattern [(attribute) (subscript)] @write)
(list_splat_pattern [(attribute) (subscript)] @write)
(for_statement left: [(attribute) (subscript)] @write)
(as_pattern_target [(attribute) (subscript)] @write)
(as_pattern_target (tuple [(attribute) (subscript)] @write))
(delete_statement [(attribute) (subscript)] @write)
(delete_statement (expression_list [(attribute) (subscript)] @write))
(global_statement (identifier) @write)
(nonlocal_statement (identifier) @write)

[(if_statement) (elif_clause) (for_statement) (while_statement) (except_clause) (conditional_expression)
 (boolean_operator) (for_in_clause) (if_clause)] @branch

(case_clause . (case_pattern) @_pattern (#not-eq? @_pattern "_")) @branch

(decorator) @attached

((block) @unwritten (#eq? @unwritten ""))

(module . (expression_statement (string)) @doc)
(block . (expression_statement (string)) @doc)

(class_definition body: (block (expression_statement (assignment left: (identifier) @member))))
