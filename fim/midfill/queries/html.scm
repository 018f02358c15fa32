; How these files are read is written in ../languages.py.

((element (start_tag (tag_name) @_tag) @import)
  (#eq? @_tag "link"))

(element (start_tag (tag_name) @name)) @scope.element
(script_element (start_tag (tag_name) @name)) @scope.element
(style_element (start_tag (tag_name) @name)) @scope.element
(element
  (start_tag (attribute (attribute_name) @_id (quoted_attribute_value (attribute_value) @name)))
  (#eq? @_id "id")) @definition.element

(comment) @comment
(quoted_attribute_value) @string
