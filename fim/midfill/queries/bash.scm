; How these files are read is written in ../languages.py.

((command name: (command_name) @_command) @import
  (#any-of? @_command "source" "."))

(function_definition name: (_) @name body: (_) @scope.body) @definition.function @scope

(comment) @comment
(string) @string
(raw_string) @string
(ansi_c_string) @string
(heredoc_body) @string
(command_substitution) @code
(expansion) @code
