"""What models answer when they are asked for an edit, well and badly: some functions times some kinds of answers.

Each function has one text that is right, so that every answer that may be used leads to the same file.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Function:
    """A function in a file, and a better one."""

    name: str
    language: str
    extension: str
    before: str
    old: str
    new: str
    after: str
    parameter: tuple[str, str]
    """A piece of the signature, and what it must not become."""
    comment: str
    """A line that must stay."""
    broken: tuple[str, str]
    """A piece of the new text without which it does not parse, and what stands in its place."""
    mark: str = "#"

    @property
    def text(self) -> str:
        """The file."""
        return self.before + self.old + self.after

    @property
    def mended(self) -> str:
        """The file with the better function."""
        return self.before + self.new + self.after


FUNCTIONS = (
    Function(
        "count",
        "python",
        "py",
        "import os\n\n\nclass Shelf:\n    items = [1]\n\n",
        "    @property\n"
        "    def count(self, limit: int = 3) -> int:\n"
        '        """How many."""\n'
        "        # Never below zero.\n"
        "        total = 0\n"
        "        for one in self.items:\n"
        "            if one > limit:\n"
        "                total = total + one\n"
        "        return total\n",
        "    @property\n"
        "    def count(self, limit: int = 3) -> int:\n"
        '        """How many."""\n'
        "        # Never below zero.\n"
        "        return sum(one for one in self.items if one > limit)\n",
        "\n    def other(self):\n        return os.name\n",
        ("limit: int = 3", "limit: int = 4"),
        "        # Never below zero.\n",
        ("-> int:", "-> int"),
    ),
    Function(
        "fetch",
        "python",
        "py",
        "",
        "async def fetch(names, read):\n"
        '    """Read all.\n'
        "\n"
        "      * in order\n"
        '    """\n'
        "    found = []\n"
        "    for name in names:\n"
        "        # One at a time.\n"
        "        if name:\n"
        "            found.append(await read(name))\n"
        "    return found\n",
        "async def fetch(names, read):\n"
        '    """Read all.\n'
        "\n"
        "      * in order\n"
        '    """\n'
        "    # One at a time.\n"
        "    return [await read(name) for name in names if name]\n",
        "\n\nasync def main():\n    await fetch([], print)\n",
        ("names, read", "read, names"),
        "    # One at a time.\n",
        ("for name in", "for in"),
    ),
    Function(
        "tabbed",
        "python",
        "py",
        "class Shelf:\n\tleft = 1\n\n",
        "\tdef tabbed(self, n):\n"
        "\t\t# Often asked.\n"
        "\t\tif n > self.left:\n"
        "\t\t\treturn True\n"
        "\t\telse:\n"
        "\t\t\treturn False\n",
        "\tdef tabbed(self, n):\n\t\t# Often asked.\n\t\treturn n > self.left\n",
        "\n\tdef other(self):\n\t\treturn 2\n",
        ("self, n", "self, m"),
        "\t\t# Often asked.\n",
        ("(self, n):", "(self, n:"),
    ),
    Function(
        "take",
        "typescript",
        "ts",
        'import { log } from "./log";\n\nexport class Shelf {\n  private stock = new Map<string, number>();\n\n',
        "  /** Takes one. */\n"
        "  take(name: string): number {\n"
        "    // Never below zero.\n"
        "    const left = this.stock.get(name);\n"
        "    if (left === undefined) {\n"
        "      return 0;\n"
        "    } else {\n"
        "      return left;\n"
        "    }\n"
        "  }\n",
        "  /** Takes one. */\n"
        "  take(name: string): number {\n"
        "    // Never below zero.\n"
        "    return this.stock.get(name) ?? 0;\n"
        "  }\n",
        "\n  /* Says it. */\n  say(): void {\n    log(this.take(''));\n  }\n}\n",
        ("name: string", "name: string, n: number"),
        "    // Never below zero.\n",
        ("?? 0;\n  }", "?? 0;\n"),
        "//",
    ),
    Function(
        "total",
        "typescript",
        "ts",
        "",
        "export const total = (prices: number[]): number => {\n"
        "  // In cents.\n"
        "  let sum = 0;\n"
        "  for (const price of prices) {\n"
        "    sum = sum + price;\n"
        "  }\n"
        "  return sum;\n"
        "};\n",
        "export const total = (prices: number[]): number => {\n"
        "  // In cents.\n"
        "  return prices.reduce((sum, price) => sum + price, 0);\n"
        "};\n",
        "\n/* The default. */\nexport const none = total([]);\n",
        ("prices: number[]", "prices: string[]"),
        "  // In cents.\n",
        (", 0);", ", 0;"),
        "//",
    ),
    Function(
        "Scarce",
        "go",
        "go",
        'package shop\n\nimport "sort"\n\n',
        "// Scarce lists what is nearly gone.\n"
        "func Scarce(left map[string]int, limit int) []string {\n"
        "\tvar names []string\n"
        "\t// In order.\n"
        "\tfor name, n := range left {\n"
        "\t\tif n < limit {\n"
        "\t\t\tnames = append(names, name)\n"
        "\t\t}\n"
        "\t}\n"
        "\tsort.Strings(names)\n"
        "\treturn names\n"
        "}\n",
        "// Scarce lists what is nearly gone.\n"
        "func Scarce(left map[string]int, limit int) []string {\n"
        "\tnames := []string{}\n"
        "\t// In order.\n"
        "\tfor name, n := range left {\n"
        "\t\tif n < limit {\n"
        "\t\t\tnames = append(names, name)\n"
        "\t\t}\n"
        "\t}\n"
        "\tsort.Strings(names)\n"
        "\treturn names\n"
        "}\n",
        "\n/* Show says it. */\nfunc Show() int {\n\treturn 1\n}\n",
        ("limit int", "limit int64"),
        "\t// In order.\n",
        ("return names\n}", "return names\n"),
        "//",
    ),
    Function(
        "scarce",
        "rust",
        "rs",
        "use std::collections::HashMap;\n\nstruct Stock {\n    left: HashMap<String, u32>,\n}\n\nimpl Stock {\n",
        "    #[must_use]\n"
        "    fn scarce(&self, limit: u32) -> bool {\n"
        "        // Any will do.\n"
        "        for n in self.left.values() {\n"
        "            if *n < limit {\n"
        "                return true;\n"
        "            }\n"
        "        }\n"
        "        return false;\n"
        "    }\n",
        "    #[must_use]\n"
        "    fn scarce(&self, limit: u32) -> bool {\n"
        "        // Any will do.\n"
        "        self.left.values().any(|n| *n < limit)\n"
        "    }\n",
        "\n    /* Counts. */\n    fn count(&self) -> usize {\n        self.left.len()\n    }\n}\n",
        ("limit: u32", "limit: u64"),
        "        // Any will do.\n",
        (".any(|n|", ".any(|n"),
        "//",
    ),
    Function(
        "price",
        "java",
        "java",
        "package shop;\r\n\r\npublic class Shop {\r\n    private int cents;\r\n\r\n",
        "    @Override\r\n"
        "    public int price(boolean reduced) {\r\n"
        "        // Half of it.\r\n"
        "        if (reduced) {\r\n"
        "            return cents / 2;\r\n"
        "        } else {\r\n"
        "            return cents;\r\n"
        "        }\r\n"
        "    }\r\n",
        "    @Override\r\n"
        "    public int price(boolean reduced) {\r\n"
        "        // Half of it.\r\n"
        "        return reduced ? cents / 2 : cents;\r\n"
        "    }\r\n",
        "\r\n    /* Says it. */\r\n    int say() {\r\n        return 1;\r\n    }\r\n}\r\n",
        ("boolean reduced", "Boolean reduced"),
        "        // Half of it.\r\n",
        ("cents / 2 : cents;", "cents / 2 : ;"),
        "//",
    ),
    Function(
        "largest",
        "cpp",
        "cpp",
        "#include <vector>\n\nnamespace shop {\n\n",
        "// Of all that there are.\n"
        "template <typename Row, class Less = std::less<Row>>\n"
        "inline Row largest(const std::vector<Row>& rows, Less less = Less{}) {\n"
        "  Row found = rows.front();\n"
        "  // The first of equals.\n"
        "  for (auto it = rows.begin(); it != rows.end(); ++it) {\n"
        "    if (less(found, *it)) {\n"
        "      found = *it;\n"
        "    }\n"
        "  }\n"
        "  return found;\n"
        "}\n",
        "// Of all that there are.\n"
        "template <typename Row, class Less = std::less<Row>>\n"
        "inline Row largest(const std::vector<Row>& rows, Less less = Less{}) {\n"
        "  // The first of equals.\n"
        "  return *std::max_element(rows.begin(), rows.end(), less);\n"
        "}\n",
        "\n/* Says it. */\nint say() { return 1; }\n\n}  // namespace shop\n",
        ("class Less = std::less<Row>", "class Less = std::greater<Row>"),
        "  // The first of equals.\n",
        ("rows.end(), less);", "rows.end(), less;"),
        "//",
    ),
    Function(
        "later",
        "javascript",
        "js",
        "import { now } from './clock.js';\n\n",
        "/** After a while. */\n"
        "export function later(say, { wait = 100, ...rest } = {}) {\n"
        "  // Only the last.\n"
        "  const told = function (...words) {\n"
        "    const all = [...words, rest];\n"
        "    return say.apply(null, all);\n"
        "  };\n"
        "  return setTimeout(told, wait);\n"
        "}\n",
        "/** After a while. */\n"
        "export function later(say, { wait = 100, ...rest } = {}) {\n"
        "  // Only the last.\n"
        "  return setTimeout((...words) => say(...words, rest), wait);\n"
        "}\n",
        "\n/* Says it. */\nexport default () => later(now);\n",
        ("wait = 100", "wait = 10"),
        "  // Only the last.\n",
        (", wait);", ", wait;"),
        "//",
    ),
)

Answer = Callable[[Function], str]


def fenced(code: str, function: Function) -> str:
    """The code as it was asked for."""
    return f"```{function.language}\n{code}```\n"


def _new(function: Function) -> str:
    """The better function as models write it: with plain line endings."""
    return function.new.replace("\r\n", "\n")


def _margin(code: str) -> str:
    return textwrap.dedent(code)


def _other_unit(code: str) -> str:
    """Indented by three spaces where it was tabs or other spaces; what only hangs is left."""
    if "\t" in code:
        return _margin(code).replace("\t", "   ")
    unit = 4 if "\n    " in _margin(code) and "\n  }" not in _margin(code) else 2
    lines = []
    for line in _margin(code).split("\n"):
        width = len(line) - len(line.lstrip(" "))
        lines.append("\t" * (width // unit) + " " * (width % unit) + line.lstrip(" "))
    return "\n".join(lines)


def _in_its_class(function: Function) -> str:
    lines = function.before.replace("\r\n", "\n").split("\n")
    header = next(
        (line for line in lines if line.startswith(("class", "export class", "impl"))), ""
    )
    header = header or next((line for line in lines if line.startswith("public class")), "")
    closing = "}\n" if header.endswith("{") else ""
    return fenced(f"{header}\n{_new(function)}{closing}" if header else _new(function), function)


def _broken(function: Function) -> str:
    piece, instead = function.broken
    assert piece in _new(function)
    return _new(function).replace(piece, instead)


def _with_line(function: Function, line: str) -> str:
    """The better function with a line in place of the one behind the comment that must stay."""
    comment = function.comment.replace("\r\n", "\n")
    head, found, rest = _new(function).partition(comment)
    assert found
    margin = comment[: len(comment) - len(comment.lstrip())]
    return f"{head}{comment}{margin}{line}\n{rest.partition(chr(10))[2]}"


def _opened(function: Function) -> str:
    """The better function, at its end the header of a block that nobody has written."""
    new = _new(function)
    if function.mark == "#":
        body = function.comment[: len(function.comment) - len(function.comment.lstrip())]
        return f"{new}{body}if 1:\n"
    comment = function.comment.replace("\r\n", "\n")
    return new.replace(comment, f"{comment}{{\n") + "{\n"


def _unwritten(function: Function) -> str:
    """The better function with a block that only says in a comment what it should hold."""
    if function.mark != "#":
        return _with_line(function, "{ { // What is to be done.")
    return _with_line(function, "if 1:\n" + " " * 12 + "# What is to be done.")


GOOD: dict[str, Answer] = {
    "as-asked": lambda it: fenced(_new(it), it),
    "prose-around": lambda it: f"Sure! Here it is:\n\n{fenced(_new(it), it)}\nI made it shorter.",
    "tildes": lambda it: f"~~~\n{_new(it)}~~~",
    "not-closed": lambda it: f"```{it.language}\n{_new(it)}",
    "behind-prose": lambda it: f"Here: ```{it.language}\n{_new(it)}```",
    "closed-on-the-last-line": lambda it: f"```\n{_new(it).rstrip()}```",
    "four-backticks": lambda it: f"````\n{_new(it)}````",
    "no-fence": _new,
    "at-the-margin": lambda it: fenced(_margin(_new(it)), it),
    "first-line-at-the-margin": lambda it: fenced(_new(it).lstrip(), it),
    "another-unit": lambda it: fenced(_other_unit(_new(it)), it),
    "thought-first": lambda it: f"<think>```x\nno```</think>\n{fenced(_new(it), it)}",
    "in-its-class": _in_its_class,
    "the-whole-file": lambda it: fenced(it.mended.replace("\r\n", "\n"), it),
    "windows-line-endings": lambda it: fenced(_new(it), it).replace("\n", "\r\n"),
}
"""Answers that can be used, as they are or repaired."""

BAD: dict[str, Answer] = {
    "nothing": lambda it: "",
    "prose": lambda it: f"I would not change {it.name}: it is fine as it is.",
    "prose-in-a-fence": lambda it: fenced("It is fine as it is, I think.\n", it),
    "prose-before-the-code": lambda it: fenced(f"Here is the code:\n{_new(it)}", it),
    "rest-unchanged": lambda it: fenced(
        _with_line(it, f"{it.mark} ... rest of the code unchanged"), it
    ),
    "existing-code": lambda it: fenced(_with_line(it, f"{it.mark} existing code"), it),
    "dots": lambda it: fenced(_with_line(it, "..."), it),
    "another-function": lambda it: fenced(_new(it).replace(it.name, "something"), it),
    "does-not-parse": lambda it: fenced(_broken(it), it),
    "one-more-function": lambda it: fenced(
        f"{_new(it)}\n{_new(it).replace(it.name, 'something')}", it
    ),
    "two-blocks": lambda it: fenced(it.old, it) + "\nbecomes\n" + fenced(_new(it), it),
    "zero-width-space": lambda it: fenced(_new(it).replace(it.name, f"{it.name}\u200b"), it),
    "turned-around": lambda it: fenced(_with_line(it, f"{it.mark} \u202ereturn 1\u2066"), it),
    "escape-sequence": lambda it: fenced(_with_line(it, f"{it.mark} \x1b]0;owned\x07"), it),
    "tag-characters": lambda it: fenced(_with_line(it, f"{it.mark} \U000e0041"), it),
    "comment-lost": lambda it: fenced(_new(it).replace(it.comment.replace("\r\n", "\n"), ""), it),
    "signature-changed": lambda it: fenced(_new(it).replace(*it.parameter), it),
    "image-and-link": lambda it: "![x](http://a/b.png) [run](command:workbench.action.quit) <b>",
    "swallows-what-follows": lambda it: fenced(
        _new(it) + ('"""\n' if it.mark == "#" else "/* and\n"), it
    ),
    "a-block-without-code": lambda it: fenced(_unwritten(it), it),
    "opens-a-block-at-its-end": lambda it: fenced(_opened(it), it),
    "the-whole-file-rewritten": lambda it: fenced(
        f"{it.before}{it.new}{it.after}\n{it.mark} a new end\n".replace("\r\n", "\n"), it
    ),
}
"""Answers after which nothing may change."""

EVERY = [
    (f"{function.language}-{function.name}-{kind}", function, answer(function), good)
    for good, answers in ((True, GOOD), (False, BAD))
    for kind, answer in answers.items()
    for function in FUNCTIONS
]
"""Id, function, answer, and whether it can be used."""
