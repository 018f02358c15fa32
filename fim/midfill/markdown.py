"""Markdown by a model made safe to show: text, emphasis, lists, tables and code, and nothing that acts.

An editor renders Markdown with HTML, images that are fetched, and links that run commands; a model writes what
the code in its prompt told it to. So outside code every character that begins such a thing is escaped: `<`, `&`,
`[` and the backslash itself. Links and images leave their text only. What is code must be code to the
renderer too: a code span ends on its own line, fences are written anew at the line's start, and both are closed.
The rules are CommonMark's (0.31, sections 2.4, 4.5, 6.1) and those of GitHub's tables, where a bar ends a cell
even inside a code span.
"""

from __future__ import annotations

import re

from midfill.hidden import shown


def sanitised(text: str) -> str:
    """A whole text made safe."""
    stream = SafeMarkdown()
    return stream.feed(text) + stream.end()


def code_span(text: str) -> str:
    """A text as a code span, whatever it holds; line breaks become spaces."""
    text = shown(" ".join(text.split()))
    runs = [len(run) for run in re.findall("`+", text)]
    quote = "`" * (max(runs, default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{quote}{pad}{text}{pad}{quote}"


class SafeMarkdown:
    """Markdown as it streams: what is given out is safe wherever the stream stops, once `end` was called.

    Text comes out word by word, except where what follows decides what it means: from a backtick or a bracket to
    the end of the construct or of the line.
    """

    def __init__(self) -> None:
        self._line = ""
        """What has not been given out of the line that is being written."""
        self._begun = False
        """Whether a part of this line has been given out."""
        self._fence = ""
        """What closes the open fence, or nothing."""

    def feed(self, text: str) -> str:
        """What may be shown now."""
        self._line += text
        *lines, self._line = _lines(self._line)
        out = "".join(self._whole(line) + "\n" for line in lines)
        return out + self._part()

    def end(self) -> str:
        """What is left, with an open fence closed."""
        line, self._line = self._line.removesuffix("\r"), ""
        out = self._whole(line) if line else ""
        if self._fence:
            out += f"{'' if not out or out.endswith(chr(10)) else chr(10)}{self._fence}"
            self._fence = ""
        return out

    def _whole(self, line: str) -> str:
        """A line up to its end."""
        begun, self._begun = self._begun, False
        if begun:
            return _inline(line)
        if self._fence:
            stripped = line.strip()
            if set(stripped) == {self._fence[0]} and len(stripped) >= len(self._fence):
                fence, self._fence = self._fence, ""
                return fence
            return shown(line)
        opening = _FENCE.fullmatch(line)
        if opening is None:
            return _inline(line)
        self._fence = opening["fence"] or opening["tildes"]
        return self._fence + (opening["language"] or "")

    def _part(self) -> str:
        """The beginning of an unfinished line that nothing which follows gives another meaning."""
        if self._fence or (not self._begun and self._line.lstrip()[:1] in ("", "`", "~")):
            return ""
        match = _PLAIN.match(self._line)
        if match is None:
            return ""
        self._line = self._line[match.end() :]
        self._begun = True
        return _inline(match[0])


def _lines(text: str) -> list[str]:
    """Lines without their endings; a carriage return at the end may be half of one and stays in the last."""
    held = text.endswith("\r")
    parts = re.split("\r\n|\n|\r", text[: len(text) - held])
    parts[-1] += "\r" * held
    return parts


def _inline(text: str) -> str:
    """A line, or a part of one that ends in no construct, with everything but code escaped."""
    out, at = "", 0
    for span in _SPAN.finditer(text):
        code = shown(span[0])
        if "|" in code and _ACTS.search(code):
            continue  # A table would cut it in two, and the second half would act.
        out += _escaped(text[at : span.start()]) + code
        at = span.end()
    return out + _escaped(text[at:])


def _escaped(text: str) -> str:
    text = _LINK.sub(r"\1", shown(text))
    return _ACTS.sub(lambda found: _ESCAPES.get(found[0], f"\\{found[0]}"), text)


_FENCE = re.compile(
    r"\s*(?:(?P<fence>`{3,})\s*(?P<language>[\w+#.-]{0,20})[^`]*|(?P<tildes>~{3,}).*)"
)
_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")
_ACTS = re.compile(r"[<&\[\]\\`]|~(?=~~)")
_ESCAPES = {"<": "&lt;", "&": "&amp;"}
_PLAIN = re.compile(r"(?:[^`\[\]!\\]|(?<!`)`[^`]+`(?=[^`]))*\s")
"""Words and whole code spans, up to a space."""
