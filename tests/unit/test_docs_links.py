"""The links of the documents point to existing files and headings."""

import re
from pathlib import Path

import pytest

from support.doc_blocks import PAGES, ROOT

LINK = re.compile(r"\]\(([^()\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`(\w+(?:\.\w+)?)`[^`|]{0,40}\[[^\]]*\]\((\.\./src/[^)]+\.py)\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of the page's headings."""
    headings = re.findall(r"^#+ +(.*)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_has_an_existing_target(page: Path) -> None:
    missing = []
    for link in LINK.findall(CODE.sub("", page.read_text())):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        linked_page = (page.parent / target).resolve() if target else page
        if not linked_page.exists() or (anchor and anchor not in anchors(linked_page)):
            missing.append(link)

    assert missing == []


def test_names_in_the_guide_are_defined_in_the_linked_files() -> None:
    guide = ROOT / "docs" / "guide.md"
    named = NAMED.findall(guide.read_text())

    absent = [
        (name, link)
        for name, link in named
        if not re.search(
            rf"^\s*(?:async def|def|class) {name.rpartition('.')[2]}\b",
            (guide.parent / link).read_text(),
            re.MULTILINE,
        )
    ]

    assert len(named) >= 6
    assert absent == []


def test_the_guide_has_its_recipes_and_its_four_patterns() -> None:
    text = (ROOT / "docs" / "guide.md").read_text()

    for words in ("## Add a resource", "## Add a pipeline step", "## Add an event"):
        assert words in text
    patterns = re.findall(r"^\| ([^|]+) \| .*\]\(\.\./src/", text, re.MULTILINE)
    assert patterns == ["CRUD endpoint", "service layer", "WebSocket handler", "change of a JSON column"]
