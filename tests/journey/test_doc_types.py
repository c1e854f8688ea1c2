"""The examples in Python of all pages pass mypy's strict checks."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support.doc_blocks import Block, all_blocks
from support.patience import TEST_SECONDS

IMPORTED: Final = {"line_count = Pipeline(": "counting.py"}
"""Text of blocks that other blocks import, and the names of their modules."""


def modules() -> Iterator[tuple[str, Block]]:
    """Yield the file name of each block in Python, and the block. Files of docs/examples are left out.

    Those are checked with all other files, except those written for another system, which is not installed.
    """
    for block in all_blocks():
        if block.language == "python" and not block.copy_of:
            name = next((name for text, name in IMPORTED.items() if text in block.text), block.file)
            yield name or re.sub(r"\W", "_", block.place) + ".py", block


@pytest.mark.slow
def test_the_examples_in_python_pass_mypy(tmp_path: Path) -> None:
    named_blocks = list(modules())
    blocks = dict(named_blocks)
    assert len(blocks) == len(named_blocks), "two blocks have the same file name"
    for name, block in blocks.items():
        (tmp_path / name).write_text(block.text)

    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=.cache", *blocks],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TEST_SECONDS,
        check=False,
    )

    places = [f"{name}: {block.place}" for name, block in blocks.items() if name in checked.stdout]
    assert checked.returncode == 0, "\n".join([checked.stdout, checked.stderr, *places])
    assert {*IMPORTED.values(), "my_pipelines.py"} <= blocks.keys()
    assert len(blocks) > 10
