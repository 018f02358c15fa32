"""What `bench.instruct` asks about: functions that come with their own tests.

A file of HumanEvalPack's shape (bigcode/humanevalpack: JSON lines of `declaration` or `prompt`, `canonical_solution`,
`buggy_solution`, `entry_point`, `test` and maybe `import`), or a few functions written here, so that the bench runs
without any data.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Item:
    """A function, the same with a mistake, and what tells the two apart."""

    task_id: str
    entry_point: str
    before: str
    """What stands above the function: imports."""
    code: str
    """The function, as it is right."""
    buggy: str
    """Empty where there is none."""
    test: str

    def program(self, text: str) -> str:
        """A whole file's text with the item's tests behind it."""
        # HumanEval's own files define `check` and leave it to others to call it.
        is_left = "def check(" in self.test and not re.search(r"(?m)^check\(", self.test)
        call = f"\ncheck({self.entry_point})" if is_left else ""
        return f"{text}\n\n{self.test}{call}\n"


def read_items(file: Path) -> list[Item]:
    """The items of a file of JSON lines, packed by gzip or not.

    Raises:
        ValueError: a line is not of that shape.
    """
    packed = file.read_bytes()
    text = (gzip.decompress(packed) if file.suffix == ".gz" else packed).decode()
    try:
        return [_item(json.loads(line)) for line in text.split("\n") if line.strip()]
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file.name} is no file of HumanEvalPack's shape: {error!r}.") from error


def _item(told: dict[str, str]) -> Item:
    head = told.get("declaration") or told["prompt"]
    before, function, signature = head.rpartition("def ")
    wrong = told.get("buggy_solution") or ""
    return Item(
        task_id=told["task_id"],
        entry_point=told["entry_point"],
        before=f"{told.get('import') or ''}{before}",
        code=f"{function}{signature}{told['canonical_solution']}".rstrip() + "\n",
        buggy=f"{function}{signature}{wrong}".rstrip() + "\n" if wrong else "",
        test=told["test"].strip("\n"),
    )


def built_in() -> list[Item]:
    """The functions written here."""
    return [
        Item(
            f"built-in/{name}", name, "", code.lstrip("\n"), code.lstrip("\n").replace(*wrong), test
        )
        for name, code, wrong, test in _BUILT_IN
    ]


_BUILT_IN = (
    (
        "total_price",
        """
def total_price(prices, discount):
    total = 0
    for price in prices:
        total = total + price
    if discount == None:
        return total
    return total - total * discount
""",
        ("total + price", "totl + price"),
        "assert total_price([1, 2], None) == 3\nassert total_price([2, 2], 0.5) == 2\n",
    ),
    (
        "count_words",
        """
def count_words(text):
    counts = {}
    for word in text.split():
        if not word in counts:
            counts[word] = 0
        counts[word] = counts[word] + 1
    return counts
""",
        ("return counts", "return count"),
        "assert count_words('a b a') == {'a': 2, 'b': 1}\nassert count_words('') == {}\n",
    ),
    (
        "clamp",
        """
def clamp(value, low, high):
    if value < low:
        return low
    if value > high:
        return high
    return value
""",
        ("return high", "return low"),
        "assert [clamp(x, 1, 3) for x in (0, 2, 9)] == [1, 2, 3]\n",
    ),
    (
        "first_line",
        '''
def first_line(text: str) -> str:
    """The first line that is not blank."""
    for line in text.split("\\n"):
        if line.strip():
            return line.strip()
    return ""
''',
        ("line.strip()\n", "lines.strip()\n"),
        "assert first_line('\\n  a \\nb') == 'a'\nassert first_line(' ') == ''\n",
    ),
    (
        "pairs",
        """
def pairs(items):
    found = []
    last = None
    for item in items:
        if last != None:
            found.append((last, item))
        last = item
    return found
""",
        ("(last, item)", "(item, last)"),
        "assert pairs([1, 2, 3]) == [(1, 2), (2, 3)]\nassert pairs([]) == []\n",
    ),
    (
        "parse_version",
        """
def parse_version(text):
    parts = text.strip().lstrip("v").split(".")
    # Missing parts count as zero.
    while len(parts) < 3:
        parts.append("0")
    return tuple(int(part) for part in parts)
""",
        ("< 3", "< 2"),
        "assert parse_version('v1.2') == (1, 2, 0)\nassert parse_version('3') == (3, 0, 0)\n",
    ),
)
