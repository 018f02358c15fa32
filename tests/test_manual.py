"""The manual holds together: what a page leads to is there, and each page is led to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "clients").glob("*/README.md"),
        *(ROOT / "bench").rglob("*.md"),
    ]
)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def leads_to(page: Path) -> list[tuple[Path, str]]:
    """Each file of ours that a page leads to, with the heading."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    ours = [link for link in links if not re.match(r"[a-z]+:", link)]
    return [
        ((page.parent / path).resolve() if path else page, heading)
        for path, _, heading in (link.partition("#") for link in ours)
    ]


def headings(page: Path) -> set[str]:
    """The names of its headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_leads_to_is_there(page: Path) -> None:
    for path, heading in leads_to(page):
        assert path.exists(), f"{named(page)} leads to {path}"
        assert not heading or heading in headings(path), f"{named(page)} leads to #{heading}"


def test_every_page_of_the_manual_is_found_from_the_readme() -> None:
    found = {path for path, _ in leads_to(ROOT / "README.md")}
    assert {page for page in PAGES if page.parent.name == "docs"} <= found


def test_pictures_are_small_and_shown() -> None:
    pictures = {path: path.stat().st_size for path in (ROOT / "docs").glob("*.png")}
    assert max(pictures.values()) <= 100_000
    assert sum(pictures.values()) <= 500_000
    assert set(pictures) <= {path for page in PAGES for path, _ in leads_to(page)}
