"""Examples for the instruct model of the tests: what Midfill asks about a function, and what is to come back.

Nothing here needs understanding, because a model of this size has none: a documenting line is put back, `x = x + 1`
becomes `x += 1`, a name that is given becomes another that is given, a misspelled one becomes right, types are put
back, and an explanation names what the code names. The prompts are built from `tasks.toml`, as `midfill.instruct`
builds them (a test compares), in the conversation that `CHAT_TEMPLATE` writes.

The pieces are those of the completion model that the run begins with, but for two that change their names: what
began a prefix begins a turn, and what ended a middle ends one.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import re
import sys
import textwrap
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TASKS_FILE = Path(__file__).resolve().parents[2] / "fim" / "midfill" / "tasks.toml"

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

MAX_CODE_CHARS = 420
MAX_IMPORTS_CHARS = 160

SHARES = {
    "document": 0.28,
    "simplify": 0.14,
    "types": 0.09,
    "rename": 0.07,
    "refactor": 0.16,
    "fix": 0.09,
    "tests": 0.07,
    "explain": 0.10,
}


class Pair(NamedTuple):
    """What is said to the model, and what it is to answer."""

    task: str
    prompt: str
    answer: str


@dataclass(frozen=True)
class Function:
    """A function as it stands in its file, its lines whole."""

    file: str
    code: str
    first_line: int
    imports: str
    header: str
    """The lines that begin the class it is in; nothing where it is in none."""
    node: ast.FunctionDef

    def with_code(self, code: str) -> Function:
        return Function(self.file, code, self.first_line, self.imports, self.header, self.node)


def functions_of(text: str, file: str) -> Iterator[Function]:
    """The functions and methods of a file that are short and whole lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            return
    lines = text.split("\n")
    imports = "\n".join(
        "\n".join(lines[node.lineno - 1 : node.end_lineno])
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    )
    if len(imports) > MAX_IMPORTS_CHARS:
        imports = ""
    holders: list[tuple[ast.Module | ast.ClassDef, str]] = [(tree, "")]
    holders += [
        (node, lines[node.lineno - 1].rstrip())
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    ]
    for holder, header in holders:
        for node in holder.body:
            if not isinstance(node, ast.FunctionDef) or node.decorator_list:
                continue
            code = "\n".join(lines[node.lineno - 1 : node.end_lineno]).rstrip()
            if 60 <= len(code) <= MAX_CODE_CHARS and node.body[0].lineno > node.lineno:
                yield Function(file, code, node.lineno, imports, header, node)


def pair(task: str, function: Function, rng: random.Random) -> Pair | None:
    """A question of one task about a function, with its answer; None where the function has nothing for it."""
    return _MAKERS[task](function, rng)


def question(
    task: str, function: Function, *, instruction: str = "", problems: Sequence[str] = ()
) -> str:
    """What Midfill says to a model, as `midfill.instruct` does."""
    data = tasks()
    texts = data["prompt"]
    blocks = [texts["system"], f"This is from {function.file} (python)."]
    if function.imports:
        blocks.append(f"The file imports:\n```python\n{function.imports}\n```")
    if function.header:
        blocks.append(f"The code stands in:\n```python\n{function.header}\n```")
    last = function.first_line + function.code.count("\n")
    blocks.append(
        f"The code, lines {function.first_line} to {last}:\n```python\n{function.code}\n```"
    )
    if problems:
        blocks.append("Reported problems:\n" + "\n".join(f"* {one}" for one in problems))
    blocks.append(_ask(task, function, instruction))
    return "\n\n".join(blocks)


def tasks() -> Mapping[str, Any]:
    """What can be asked, as data."""
    return tomllib.loads(TASKS_FILE.read_text("utf-8"))


def _ask(task: str, function: Function, instruction: str) -> str:
    data = tasks()
    texts, row = data["prompt"], next(row for row in data["task"] if row["name"] == task)
    asked = [instruction or row["instruction"]]
    if row["result"] == "markdown":
        asked.append(texts["explain"])
    elif row["result"] == "file":
        framework = data["tests"]["python"]["framework"].format(stem=Path(function.file).stem)
        asked += [f"Use {framework}.", texts["new_file"]]
    else:
        frees_signature = bool(re.search(texts["asks_for_signature"], instruction))
        frees_comments = bool(re.search(texts["asks_for_comments"], instruction))
        if row.get("signature", "keep") == "keep" and not frees_signature:
            asked.append(texts["keep_signature"])
        if row.get("comments", "keep") == "keep" and not frees_comments:
            asked.append(texts["keep_comments"])
        asked.append(texts["edit"])
    return " ".join(asked)


# One function for each task


def _fenced(code: str) -> str:
    return f"```python\n{code}\n```"


def _document(function: Function, rng: random.Random) -> Pair | None:
    bare, line = _without_docstring(function)
    if not line:
        return None
    asked = function.with_code(bare)
    if rng.random() < 0.25:
        instruction = rng.choice(("Add a docstring.", "Document this.", "Write a docstring."))
        return Pair(
            "refactor",
            question("refactor", asked, instruction=instruction),
            _fenced(_with_docstring(asked, line)),
        )
    return Pair("document", question("document", asked), _fenced(_with_docstring(asked, line)))


def _without_docstring(function: Function) -> tuple[str, str]:
    """The code without its documentation, and the first line of that; nothing where there is none to take out."""
    node, lines = function.node, function.code.split("\n")
    first = node.body[0]
    docs = ast.get_docstring(node)
    if not docs or len(node.body) < 2 or first.end_lineno is None:
        return "", ""
    line = docs.split("\n")[0].strip()
    if not 8 <= len(line) <= 75 or '"' in line or "\\" in line:
        return "", ""
    start, end = first.lineno - node.lineno, first.end_lineno - node.lineno + 1
    while end < len(lines) and not lines[end].strip():
        end += 1
    return "\n".join([*lines[:start], *lines[end:]]), line


def _with_docstring(function: Function, line: str) -> str:
    lines = function.code.split("\n")
    at = function.node.body[0].lineno - function.node.lineno
    indent = " " * function.node.body[0].col_offset
    return "\n".join([*lines[:at], f'{indent}"""{line}"""', *lines[at:]])


_LONGER: tuple[tuple[str, str], ...] = (
    (r"(?m)^(\s*)([\w.]+) \+= ([\w.()\[\]\"']+)$", r"\1\2 = \2 + \3"),
    (r"(?m)^(\s*)([\w.]+) -= ([\w.()\[\]\"']+)$", r"\1\2 = \2 - \3"),
    (r"(?m)^(\s*(?:el)?if) ([\w.]+) is None:$", r"\1 \2 == None:"),
    (r"(?m)^(\s*(?:el)?if) ([\w.]+) is not None:$", r"\1 \2 != None:"),
    (r"(?m)^(\s*(?:el)?if) ([\w.]+) not in ([\w.]+):$", r"\1 not \2 in \3:"),
)
"""What is short, and how it can be said at length: the question is the long form, the answer the short one."""


def _simplify(function: Function, rng: random.Random) -> Pair | None:
    code = function.code
    for pattern, longer in _LONGER:
        code = re.sub(pattern, longer, code)
    if code == function.code and rng.random() < 0.9:
        return None
    task = rng.choice(("simplify", "simplify", "simplify", "modernise"))
    return Pair(task, question(task, function.with_code(code)), _fenced(function.code))


def _types(function: Function, rng: random.Random) -> Pair | None:
    head, colon, body = function.code.partition(":\n")
    if "\n" in head or "->" not in head:
        return None
    bare = re.sub(r" -> [\w.\[\], |]+$", "", head)
    bare = re.sub(r"(\w+): [\w.\[\]|]+(?=[,)])", r"\1", bare)
    if bare == head or ": " in bare:
        return None
    asked = function.with_code(bare + colon + body)
    return Pair("types", question("types", asked), _fenced(function.code))


_POOR_NAMES = ("a", "b", "x", "y", "tmp", "x1", "foo", "v", "val2", "q")


def _rename(function: Function, rng: random.Random) -> Pair | None:
    found = _local_names(function)
    poor = rng.choice(_POOR_NAMES)
    if not found or re.search(rf"\b{poor}\b", function.code):
        return None
    code = re.sub(rf"(?<![\w.]){rng.choice(found)}\b(?!\s*=[^=\n]*[,)])", poor, function.code)
    return Pair("rename", question("rename", function.with_code(code)), _fenced(function.code))


def _refactor(function: Function, rng: random.Random) -> Pair | None:
    """A name that is told is to become another that is told."""
    found = _local_names(function)
    if not found:
        return None
    before, after = rng.choice(found), rng.choice(_GIVEN_NAMES)
    if re.search(rf"\b{after}\b", function.code):
        return None
    asked = rng.choice(
        ("Rename {0} to {1}.", "rename {0} to {1}", "Rename the variable {0} to {1}.")
    ).format(before, after)
    code = re.sub(rf"(?<![\w.]){before}\b", after, function.code)
    return Pair("refactor", question("refactor", function, instruction=asked), _fenced(code))


_GIVEN_NAMES = (
    *("result", "value", "total", "item", "found", "count", "index", "entry", "name", "data"),
    *("first", "last", "amount", "answer", "words", "lines", "text", "left", "right", "known"),
)


def _local_names(function: Function) -> list[str]:
    """Names that are assigned in a function and are no parameters; none of a string or a keyword argument."""
    assigned = {
        node.id
        for node in ast.walk(function.node)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    keywords = {node.arg for node in ast.walk(function.node) if isinstance(node, ast.keyword)}
    parameters = {node.arg for node in ast.walk(function.node) if isinstance(node, ast.arg)}
    texts = " ".join(re.findall(r"\"[^\"\n]*\"|'[^'\n]*'|#.*", function.code))
    return sorted(
        name
        for name in assigned - keywords - parameters
        if len(name) > 1 and not re.search(rf"\b{re.escape(name)}\b", texts)
    )


def _fix(function: Function, rng: random.Random) -> Pair | None:
    found = [name for name in _local_names(function) if len(name) > 3]
    if not found:
        return None
    name = rng.choice(found)
    places = [m.start() for m in re.finditer(rf"(?<![\w.]){name}\b", function.code)]
    if len(places) < 2:
        return None
    at = rng.choice(places[1:])
    cut = rng.randrange(1, len(name))
    wrong = name[:cut] + name[cut + 1 :]
    code = function.code[:at] + wrong + function.code[at + len(name) :]
    line = function.first_line + code[:at].count("\n")
    said = rng.choice(
        ("line {0}: undefined name '{1}'", "undefined name '{1}'", '"{1}" is not defined')
    )
    asked = question("fix", function.with_code(code), problems=[said.format(line, wrong)])
    return Pair("fix", asked, _fenced(function.code))


def _tests(function: Function, rng: random.Random) -> Pair | None:
    name = function.node.name
    if function.header or name.startswith("_"):
        return None
    stem = Path(function.file).stem
    code = (
        f"from {stem} import {name}\n\n\ndef test_{name}():\n    assert callable({name})\n"
        f'    assert {name}.__name__ == "{name}"'
    )
    return Pair("tests", question("tests", function), _fenced(code))


def _explain(function: Function, rng: random.Random) -> Pair | None:
    node = function.node
    kind = "method" if function.header else "function"
    names = [one.arg for one in (*node.args.posonlyargs, *node.args.args) if one.arg != "self"]
    said = [f"`{node.name}` is a {kind} that takes {_listed(names) if names else 'nothing'}."]
    called = list(
        dict.fromkeys(
            one.func.id if isinstance(one.func, ast.Name) else one.func.attr
            for one in ast.walk(node)
            if isinstance(one, ast.Call) and isinstance(one.func, (ast.Name, ast.Attribute))
        )
    )
    if called:
        said.append(f"It calls {_listed(called[:4])}.")
    gives = any(isinstance(one, ast.Return) and one.value for one in ast.walk(node))
    said.append("It returns a value." if gives else "It returns nothing.")
    return Pair("explain", question("explain", function), " ".join(said))


def _listed(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


_MAKERS: Mapping[str, Callable[[Function, random.Random], Pair | None]] = {
    "document": _document,
    "simplify": _simplify,
    "types": _types,
    "rename": _rename,
    "refactor": _refactor,
    "fix": _fix,
    "tests": _tests,
    "explain": _explain,
}


def pairs(texts: Sequence[tuple[str, str]], n_pairs: int, seed: int) -> list[Pair]:
    """So many questions about the functions of files (text and name), their tasks by `SHARES`.

    An edit whose answer does not parse is left out.
    """
    rng = random.Random(seed)
    order = list(texts)
    rng.shuffle(order)
    wanted = {task: round(share * n_pairs) for task, share in SHARES.items()}
    made: list[Pair] = []
    for text, file in order:
        if not any(wanted.values()):
            break
        found = list(functions_of(text, file))
        rng.shuffle(found)
        for function in found[:_MOST_OF_A_FILE]:
            # What is rare first, as not every function has something for it.
            for task in sorted(wanted, key=lambda task: (task not in _RARE, rng.random())):
                one = pair(task, function, rng) if wanted[task] else None
                if one is not None and _is_sound(one):
                    made.append(one)
                    wanted[task] -= 1
                    break
    rng.shuffle(made)
    return made


_MOST_OF_A_FILE = 12
_RARE = ("types", "fix", "simplify")


def _is_sound(one: Pair) -> bool:
    if one.task == "explain":
        return True
    code = textwrap.dedent(one.answer.removeprefix("```python\n").removesuffix("\n```"))
    try:
        ast.parse(code)
    except (SyntaxError, ValueError):
        return False
    return "```" not in code


def main() -> None:
    # What needs the training environment is imported here, so that the prompts can be tested without it.
    from training.corpus import read_documents  # noqa: PLC0415
    from training.examples import pack, rows_path  # noqa: PLC0415
    from training.presets import load_preset  # noqa: PLC0415
    from training.turns import chat_tokenizer, example_of  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="nano-instruct")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    parser.add_argument("--model", type=Path, required=True, help="the completion model's GGUF")
    arguments = parser.parse_args()
    preset, work = load_preset(arguments.preset), arguments.work
    tokenizer = chat_tokenizer(arguments.model)
    (work / "tokenizer.model").write_bytes(tokenizer.processor.serialized_model_proto())
    rows_path(work, 0).parent.mkdir(parents=True, exist_ok=True)
    context = preset.model.context
    n_train = int(1.2 * preset.decay_tokens / _TOKENS_OF_A_PAIR)
    for split, n_pairs, path in (
        ("validation", 120, work / "examples" / "validation.npz"),
        ("train", n_train, rows_path(work, 0)),
    ):
        texts = [(one.text, Path(one.path).name) for one in read_documents(work, split)]
        made = pairs(texts, n_pairs, preset.seed)
        examples = [example_of(tokenizer, one.prompt, one.answer) for one in made]
        kept = [one for one in examples if len(one.ids) <= context]
        rows = pack(kept, context, random.Random(preset.seed))
        rows.save(path)
        print(f"{split}: {dict(Counter(one.task for one in made))}")
        print(f"  {len(kept)} of {len(made)} fit, {rows.describe()}")
        for one in made[:3]:
            print(json.dumps(one._asdict()))


_TOKENS_OF_A_PAIR = 380


if __name__ == "__main__":
    main()
