"""Facts that are read from a tree, and what a caret or a selection is about."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from marks import caret
from midfill.code_facts import CodeFacts, facts_markdown, facts_of, facts_query
from midfill.instruct import facts
from midfill.languages import languages
from midfill.subject import subject_at
from midfill.syntax import parse
from midfill.text import Document

PYTHON = """\
def f(a, *rest, k=1):
    '''Doc.'''
    def inner(x):
        return x
    self.total = inner(a)
    rows[a] += 1
    global N
    if a and rest:
        raise ValueError(a)
    for b in rest:
        yield b║
    return self.load(a).rows()
"""
TYPESCRIPT = """\
class Shelf {
  /** Takes. */
  take(name: string, n = 1): number {
    if (n < 1 || !name) {
      throw new RangeError(name);║
    }
    this.left[name] -= n;
    this.asked++;
    return this.names.map((x) => x).length;
  }
}
"""
GO = """\
func (s *Stock) Take(name string, n int) error {
	if n < 1 && name != "" {
		panic("none")║
	}
	s.left[name] = s.left[name] - n
	return s.save(name)
}
"""
RUST = """\
fn take(&mut self, n: u32) -> Result<u32, Error> {
    self.left = self.left - n;║
    let x = self.load()?;
    x
}
"""
JAVA = """\
class Shelf {
    int take(String name, int n) throws IOException {
        this.left = n;║
        return n > 0 ? load(name) : 0;
    }
}
"""


JAVA_FIELDS = """\
class Shelf extends Rack {
    Shelf(String name, int... sizes) {
        super(name);
        int left = sizes.length;
        left -= items.get(name);║
        total += left;
        switch (List.of(sizes).size()) {
            case 1, 2 -> left++;
            case 3 -> { }
            default -> throw new IllegalStateException();
        }
        for (int size : sizes) { size++; }
    }
}
"""
JAVASCRIPT = """\
export function later(fn, wait = 100) {
  let timer = null, { slow } = cache;
  for (const one of fn()) { slow = one; }
  timer = clearTimeout(timer) ?? wait;║
  count++;
  delete cache[wait];
  return timer;
}
"""
CPP = """\
template <typename Rows>
Rows* sorted(const Rows& in, int* n = nullptr) {
  Rows out(in.size());║
  if (out == 0 && n) throw Odd("empty");
  try { ++count_; } catch (const Odd& e) { n = 0; }
  *n = 1;
  this->size_ = 2;
  switch (*n) { case 1: break; default: return {}; }
  return &out;
}
"""


@pytest.mark.parametrize(
    ("language", "marked", "expected"),
    [
        pytest.param(
            "python",
            PYTHON,
            {
                "parameters": ("a", "*rest", "k=1"),
                "returns": ("b", "self.load(a).rows()"),
                "raises": ("ValueError(a)",),
                "calls": ("inner", "ValueError", "….rows", "self.load"),
                "writes": ("self.total", "rows[a]", "N"),
                "complexity": 4,
            },
            id="python",
        ),
        pytest.param(
            "typescript",
            TYPESCRIPT,
            {
                "parameters": ("name: string", "n = 1"),
                "result": "number",
                "returns": ("this.names.map((x) => x).length",),
                "raises": ("new RangeError(name)",),
                "calls": ("RangeError", "this.names.map"),
                "writes": ("this.left[name]", "this.asked"),
                "complexity": 3,
            },
            id="typescript",
        ),
        pytest.param(
            "go",
            GO,
            {
                "parameters": ("name string", "n int"),
                "result": "error",
                "returns": ("s.save(name)",),
                "raises": ('panic("none")',),
                "calls": ("panic", "s.save"),
                "writes": ("s.left[name]",),
                "complexity": 3,
            },
            id="go",
        ),
        pytest.param(
            "rust",
            RUST,
            {
                "parameters": ("&mut self", "n: u32"),
                "result": "Result<u32, Error>",
                "returns": ("x",),
                "raises": ("self.load()?",),
                "calls": ("self.load",),
                "writes": ("self.left",),
                "complexity": 2,
            },
            id="rust",
        ),
        pytest.param(
            "java",
            JAVA,
            {
                "parameters": ("String name", "int n"),
                "result": "int",
                "returns": ("n > 0 ? load(name) : 0",),
                "raises": ("IOException",),
                "calls": ("load",),
                "writes": ("this.left",),
                "complexity": 2,
            },
            id="java",
        ),
        pytest.param(
            "java",
            JAVA_FIELDS,
            {
                "parameters": ("String name", "int... sizes"),
                "raises": ("new IllegalStateException()",),
                "calls": ("super", "items.get", "….size", "List.of", "IllegalStateException"),
                "writes": ("total",),
                "complexity": 4,
            },
            id="java-fields",
        ),
        pytest.param(
            "javascript",
            JAVASCRIPT,
            {
                "parameters": ("fn", "wait = 100"),
                "returns": ("timer",),
                "calls": ("fn", "clearTimeout"),
                "writes": ("count", "cache[wait]"),
                "complexity": 3,
            },
            id="javascript",
        ),
        pytest.param(
            "cpp",
            CPP,
            {
                "parameters": ("const Rows& in", "int* n = nullptr"),
                "returns": ("{}", "&out"),
                "raises": ('Odd("empty")',),
                "calls": ("in.size", "Odd"),
                "writes": ("count_", "*n", "this->size_"),
                "complexity": 5,
            },
            id="cpp",
        ),
        pytest.param(
            "rust",
            'fn f(n: u32) {\n    match n {║ 0 => panic!("none"), 1 | 2 => {}, _ => bail!(n) }\n}\n',
            {
                "parameters": ("n: u32",),
                "raises": ('panic!("none")', "bail!(n)"),
                "calls": ("panic", "bail"),
                "complexity": 3,
            },
            id="rust-arms",
        ),
        pytest.param(
            "python",
            "def f(a,  # the first\n      b):\n    match a:\n        case 1:║ return 2\n        case _: return b\n",
            {"parameters": ("a", "b"), "returns": ("2", "b"), "complexity": 2},
            id="python-comment-among-parameters",
        ),
        pytest.param(
            "go",
            "func (s *S) f() (n int, err error) {\n\tn, err = s.g()║\n\ttotal++\n\tm := 1\n\tm = 2\n\treturn\n}\n",
            {
                "result": "(n int, err error)",
                "calls": ("s.g",),
                "writes": ("total",),
                "complexity": 1,
            },
            id="go-named-results",
        ),
    ],
)
def test_facts_of_a_function(language: str, marked: str, expected: dict[str, Any]) -> None:
    text, offset = caret(marked)
    document = Document.of(text, language)
    syntax = parse(document)
    assert syntax is not None
    subject = subject_at(document, syntax, offset, offset)
    assert subject is not None
    found = facts_of(syntax, subject.start, subject.end)
    assert asdict(found) == asdict(CodeFacts(known=True)) | expected


def test_every_facts_query_fits_its_grammar() -> None:
    with_facts, with_comments = set[str](), set[str]()
    for language in languages():
        for identifier in language.ids if language.grammar else ():
            syntax = parse(Document.of("x", identifier))
            assert syntax is not None
            if facts_query(syntax) is None:
                continue
            (with_facts if facts_of(syntax, 0, 1).known else with_comments).add(language.query)
    assert with_facts == {"python", "javascript", "typescript", "go", "rust", "java", "c", "cpp"}
    assert with_comments == {"csharp", "php", "ruby", "lua", "bash"}


def test_what_a_program_holds_cannot_leave_its_code_span() -> None:
    found = CodeFacts(calls=("a`<img>`b", "x\u202ey"), known=True)
    text = facts_markdown(found, "**f**")
    assert "``a`<img>`b``" in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    ("language", "text", "writes"),
    [
        pytest.param(
            "python",
            "def f(self, rows):\n    self.a, (rows[0], *self.b) = 1, (2, 3)\n    [self.c, x] = 1, 2\n"
            "    for self.d, y in z: pass\n    for self.e in z: pass\n"
            "    with o() as self.g, p() as (self.h, r): pass\n    del rows[1], self.i\n    self.j.k = self.l[1] = 2\n",
            "self.a rows[0] self.b self.c self.d self.e self.g self.h rows[1] self.i self.j.k self.l[1]",
            id="python",
        ),
        pytest.param(
            "javascript",
            "function f(a) {\n  [this.a, b] = g();\n  ({ c, d: this.d, ...e } = a);\n  for (this.i of a) {}\n"
            "  for (q in a) {}\n  for (const r of a) { r = 1; }\n  a.b ??= 1;\n  let z; [z] = a;\n}\n",
            "this.a b c this.d e this.i q a.b",
            id="javascript",
        ),
        pytest.param(
            "typescript",
            "function f(a: any) {\n  [this.a, b] = g();\n  this.m!.n = 2;\n  this.k! += 1;\n  let c = 1; c++;\n}\n",
            "this.a b this.m!.n this.k!",
            id="typescript",
        ),
        pytest.param(
            "go",
            "func (s *S) f() {\n\ts.a, b, c[1] = 1, 2, 3\n\tfor s.i = 0; s.i < 2; s.j++ {}\n\tfor s.k = range x {}\n"
            "\t*r = 2\n\tx := 1\n\tx, _ = 2, 3\n}\n",
            "s.a b c[1] s.i s.j s.k *r",
            id="go",
        ),
        pytest.param(
            "rust",
            "fn f(&mut self) {\n  self.a = 1; self.b[0] += 3; (self.c, x) = (1, 2); COUNT += 1;\n"
            "  let mut y = 1; y = 2;\n}\n",
            "self.a self.b[0] self.c COUNT",
            id="rust",
        ),
        pytest.param(
            "cpp",
            "void A::f(int* p) { b_ = 2; p[0] = 3; A::c++; (*this).d = 2; "
            "int e; e = 1; int q = 2; q++; total += q; }\n",
            "b_ p[0] A::c (*this).d total",
            id="cpp",
        ),
        pytest.param(
            "c", "int f(char **v, int n) { for (int i = 0; i < n; i++) { seen++; } n = 0; return n; }\n", "seen",
            id="c",
        ),
    ],
)  # fmt: skip
def test_what_is_written_beyond_the_functions_own_names(
    language: str, text: str, writes: str
) -> None:
    syntax = parse(Document.of(text, language))
    assert syntax is not None
    assert not syntax.byte_errors
    assert " ".join(facts_of(syntax, 0, len(text)).writes) == writes


def test_a_class_with_one_method_on_its_line_is_no_function() -> None:
    text = "class Point { sum() { return this.x; } }\n"
    document = Document.of(text, "javascript")
    subject = subject_at(document, parse(document), 2, 2)
    assert subject is not None
    assert facts(subject).startswith("**`Point`**: class, 1 line\n\n* Raises")


def test_facts_of_code_that_is_broken_say_so() -> None:
    for text, is_said in (("def f(:\n    return 1\n", True), ("def f():\n    return 1\n", False)):
        document = Document.of(text, "python")
        subject = subject_at(document, parse(document), 0, len(text))
        assert subject is not None
        assert ("it has syntax errors, so some of this may be wrong" in facts(subject)) == is_said


SUBJECTS = """\
import os

@cache
def first(a):
    return a


class Shelf:
    left = 1

    @property
    def count(self):
        def inner():
            return 2

        return inner()

x = 1
"""


@pytest.mark.parametrize(
    ("at", "name", "lines"),
    [
        pytest.param("return a", "first", (3, 5), id="with-its-decorator"),
        pytest.param("def first", "first", (3, 5), id="at-its-first-character"),
        pytest.param("    def count", "Shelf.count", (11, 16), id="before-its-first-character"),
        pytest.param("return 2", "Shelf.count.inner", (13, 14), id="the-innermost-function"),
        pytest.param("left = 1", "Shelf", (8, 16), id="a-class-where-there-is-no-function"),
    ],
)
def test_a_caret_means_what_is_around_it(at: str, name: str, lines: tuple[int, int]) -> None:
    document = Document.of(SUBJECTS, "python")
    offset = SUBJECTS.index(at)
    subject = subject_at(document, parse(document), offset, offset)
    assert subject is not None
    assert (subject.name, subject.lines) == (name, lines)


@pytest.mark.parametrize(
    ("language", "marked", "name", "lines"),
    [
        pytest.param("javascript", "║export function f() {\n}\n", "f", (1, 2), id="export"),
        pytest.param("javascript", "expo║rt default class A {\n}\n", "A", (1, 2), id="default"),
        pytest.param("typescript", "ex║port const f = () => {\n};\n", "f", (1, 2), id="arrow"),
        pytest.param("typescript", "/** D. */║\nexport class A {\n}\n", "A", (1, 3), id="above"),
        pytest.param(
            "typescript",
            "class A {\n  x = 1;\n  @me║mo()\n  f() {\n  }\n}\n",
            "A.f",
            (3, 5),
            id="decorator-of-a-method",
        ),
        pytest.param("python", "║@cache\ndef f():\n    pass\n", "f", (1, 3), id="python"),
        pytest.param(
            "cpp", "// D.\ntemp║late <class T>\nT f(T a) {\n}\n", "f", (1, 4), id="template"
        ),
        pytest.param("rust", "/// D.║\n#[inline]\nfn f() {\n}\n", "f", (1, 4), id="documentation"),
        pytest.param(
            "csharp",
            "class A {\n  /// <summary>D.</summary>\n  [X]\n  int ║F() {\n    return 1;\n  }\n}\n",
            "A.F",
            (2, 6),
            id="csharp",
        ),
        pytest.param(
            "php",
            "<?php\n/** D. */\nfunction f() {\n  return 1;║\n}\n",
            "f",
            (2, 5),
            id="php",
        ),
        pytest.param("ruby", "# D.\ndef f\n  1║\nend\n", "f", (1, 4), id="ruby"),
        pytest.param("lua", "--- D.║\nfunction f()\nend\n", "f", (1, 3), id="lua"),
        pytest.param("shellscript", "# D.\nf() {\n  :║\n}\n", "f", (1, 4), id="shell"),
        pytest.param("go", "// D.║\nfunc F() {\n}\n", "F", (1, 3), id="go"),
        pytest.param(
            "javascript",
            "function f() {\n  // D.║\n  const g = () => {\n  };\n}\n",
            "f",
            (1, 5),
            id="a-comment-in-a-function",
        ),
        pytest.param("python", "\ufeff║def f():\n    pass\n", "f", (1, 2), id="after-a-mark"),
        pytest.param("python", "║\ufeffdef f():\n    pass\n", "f", (1, 2), id="before-a-mark"),
    ],
)
def test_a_caret_where_a_definition_is_introduced(
    language: str, marked: str, name: str, lines: tuple[int, int]
) -> None:
    text, offset = caret(marked)
    document = Document.of(text, language)
    subject = subject_at(document, parse(document), offset, offset)
    assert subject is not None
    assert (subject.name, subject.lines) == (name, lines)
    assert not subject.text.startswith("\ufeff")


@pytest.mark.parametrize(
    ("first", "last", "name", "lines"),
    [
        pytest.param(3, 5, "first", (3, 5), id="all-of-a-function"),
        pytest.param(4, 5, "first", (3, 5), id="a-function-without-its-decorator"),
        pytest.param(2, 7, "first", (3, 5), id="blank-lines-around"),
        pytest.param(5, 5, "line 5", (5, 5), id="one-line"),
        pytest.param(13, 16, "lines 13 to 16", (13, 16), id="some-lines"),
        pytest.param(1, 18, "lines 1 to 18", (1, 18), id="more-than-one-definition"),
    ],
)
def test_a_selection_means_its_lines(
    first: int, last: int, name: str, lines: tuple[int, int]
) -> None:
    document = Document.of(SUBJECTS, "python")
    # From the first line's start to the next line's, as editors select whole lines.
    start, end = document.line_starts[first - 1], document.line_starts[last]
    subject = subject_at(document, parse(document), start, end)
    assert subject is not None
    assert (subject.name, subject.lines) == (name, lines)


@pytest.mark.parametrize(
    ("text", "language", "selected"),
    [
        pytest.param("\n\n", "python", slice(0, 2), id="blank-lines"),
        pytest.param("x = 1\n", "python", slice(2, 2), id="no-definition"),
        pytest.param("# Far.\n\ndef f():\n    pass\n", "python", slice(2, 2), id="far-above"),
        pytest.param("// D.\nnamespace a {\nint b;\n}\n", "cpp", slice(2, 2), id="a-namespace"),
        pytest.param("\nfunction f() {\n}\n", "javascript", slice(0, 0), id="a-blank-line-above"),
        pytest.param("go(() => {\n});\n", "javascript", slice(0, 0), id="a-call"),
        pytest.param("x = 1\n", "unknown", slice(2, 2), id="no-grammar"),
        pytest.param("", "python", slice(0, 0), id="nothing"),
    ],
)
def test_nothing_is_meant(text: str, language: str, selected: slice) -> None:
    document = Document.of(text, language)
    assert subject_at(document, parse(document), selected.start, selected.stop) is None
