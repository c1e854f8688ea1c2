"""The fenced blocks of the documentation, and what is done with each of them.

A comment on the line before a block says what its language does not: `<!-- not run: reason -->`,
`<!-- run by tests/... -->`, `<!-- file: docs/examples/... -->` or `<!-- exit status 22 -->`.
"""

import re
from pathlib import Path
from typing import Final

from msgspec import Struct

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("clients/*/README.md")],
    key=lambda page: page.as_posix(),
)
_FENCE: Final = re.compile(
    r"^(?P<before>[^\n]*)\n(?P<gap>\n?)```(?P<language>[\w+-]*)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_COMMENT: Final = re.compile(r"<!-- (?:(not run|file): (.+)|(run by|exit status) (\S+)) -->")
_SETTING: Final = re.compile(r"(HEADRACE_[A-Z0-9_]+)=\S+( +#.*)?$")
_FILE: Final = re.compile(r"(?:^|\W)[Ss]ave this as `([\w./-]+)`")


class Block(Struct, frozen=True):
    """A fenced block. *page* is relative to the root.

    *not_run*: why nobody runs it · *run_by*: the test that does · *status*: the exit status it has to have ·
    *file*: the name under which the page tells its reader to save it · *copy_of*: the file that it shows.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str | None = None
    run_by: str | None = None
    status: int = 0
    file: str | None = None
    copy_of: str | None = None

    @property
    def is_settings(self) -> bool:
        """Whether the block holds environment variables of the service and no command."""
        lines = [line for line in self.text.splitlines() if line and not line.startswith("#")]
        return self.language == "sh" and all(_SETTING.match(line) for line in lines)

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def is_run_in_page(block: Block) -> bool:
    """Return whether a block runs with the others of its page, against a live service."""
    is_elsewhere = block.not_run or block.run_by or block.copy_of or block.is_settings
    return block.language in ("sh", "python") and not is_elsewhere


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, in its order."""
    text = page.read_text()
    return [_block(page, text, match) for match in _FENCE.finditer(text)]


def all_blocks() -> list[Block]:
    """Return the blocks of all pages."""
    return [block for page in PAGES for block in blocks_of(page)]


def texts(page: str, language: str) -> list[str]:
    """Return the texts of the blocks of one language; *page* is relative to the root."""
    return [block.text for block in blocks_of(ROOT / page) if block.language == language]


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    comment = _COMMENT.fullmatch(match["before"].strip())
    said = {comment[1] or comment[3]: comment[2] or comment[4]} if comment else {}
    file = _FILE.search(match["before"]) if match["gap"] else None
    return Block(
        page=page.relative_to(ROOT).as_posix(),
        line=text.count("\n", 0, match.start("language")) + 1,
        language=match["language"],
        text=match["text"],
        not_run=said.get("not run"),
        run_by=said.get("run by"),
        status=int(said.get("exit status", 0)),
        file=file[1] if file else None,
        copy_of=said.get("file"),
    )
