"""The README's picture: frames of an editor become one SVG that shows each for its time."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from picture import Frame, moving


def test_each_frame_is_there_for_its_time() -> None:
    frames = [
        Frame(("if a < b:", "    re"), 2, 6, "turn", "", 1.0),
        Frame(("if a < b:", "    return"), 2, 10, "", "Tab", 3.0),
    ]
    picture = ElementTree.fromstring(moving(frames))
    namespace = "{http://www.w3.org/2000/svg}"
    told = ["".join(text.itertext()) for text in picture.iter(f"{namespace}text")]
    assert told == ["if a < b:", "    return", "if a < b:", "    return", "Tab"]
    assert [text.text for text in picture.iter(f"{namespace}tspan")] == ["turn", None]
    assert re.findall(r"([\d.]+)%{", moving(frames)) == ["0.00", "25.00"]
