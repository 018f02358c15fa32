"""Indentation as the document has it."""

from __future__ import annotations

import pytest

from carets import said
from midfill.caret import Extent
from midfill.indenting import fit_indentation


@pytest.mark.parametrize(
    ("language", "extent", "marked", "left"),
    [
        pytest.param(
            "go",
            "block",
            "func f() {\n\tif a {├\n        b()\n    }┤\n}\n",
            "\n\t\tb()\n\t}",
            id="spaces-in-a-document-of-tabs",
        ),
        pytest.param(
            "go",
            "block",
            "func f() {├\n  a()\n  if b {\n    c()\n  }\n┤\n}\nfunc g() {\n\td()\n}\n",
            "\n\ta()\n\tif b {\n\t\tc()\n\t}\n",
            id="narrow-levels",
        ),
        pytest.param(
            "go",
            "block",
            "func f() {\n\t├a()\n    b()┤\n}\n",
            "a()\n\tb()",
            id="on-an-indented-blank-line",
        ),
        pytest.param(
            "python",
            "block",
            "def f():\n  a()\n\ndef g():├\n\tb()\n\tif c:\n\t\td()┤\n",
            "\n  b()\n  if c:\n    d()",
            id="tabs-in-a-document-of-spaces",
        ),
        pytest.param("python", "block", "def g():├\n\tb()┤\n", "\n\tb()", id="where-nothing-tells"),
        pytest.param(
            "typescript",
            "block",
            "if (a) {├\n  b();\n}┤\nif (c) {\n  d();\n}\n",
            "\n  b();\n}",
            id="as-it-is",
        ),
        pytest.param(
            "python", "line", "def f():\n    ├    return 1┤\n", "return 1", id="said-twice"
        ),
        pytest.param(
            "python", "line", "def f():\n    a()\n    ├    b()┤\n", "b()", id="twice-behind-a-line"
        ),
        pytest.param("python", "line", "def f():\n├    a()┤\n", "    a()", id="not-there-yet"),
        pytest.param("python", "line", "def f():\n  ├  a()┤\nif b:\n    c()\n", "  a()", id="half"),
        pytest.param("python", "line", "f(a,\n  ├  b)┤\n", "  b)", id="in-brackets"),
        pytest.param(
            "rust", "line", "fn f() {\n    ├    a()┤\n}\nfn g() {\n    b()\n}\n", "a()", id="rust"
        ),
    ],
)
def test_fit_indentation(language: str, extent: Extent, marked: str, left: str) -> None:
    assert fit_indentation(*said(marked, extent, language)) == left
