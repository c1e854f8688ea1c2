"""Every fenced block of the documentation is checked or run, or its page says why not."""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from typing import Final

import pytest
import yaml
from graphql import build_schema, parse, validate

from support.doc_blocks import ROOT, Block, all_blocks, is_run_in_page

FOR_READERS: Final = ("", "text", "console")
"""Drawings, and output that people see."""

BLOCKS: Final = all_blocks()
SETTINGS: Final = (ROOT / ".env.example").read_text()
MAKEFILE: Final = (ROOT / "Makefile").read_text()


def check_query(text: str) -> None:
    assert validate(build_schema((ROOT / "docs" / "schema.graphql").read_text()), parse(text)) == []


def check_shell(text: str) -> None:
    shell = shutil.which("bash") or "sh"
    result = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


CHECKS: Final[dict[str, Callable[[str], object]]] = {
    "graphql": check_query,
    "json": json.loads,
    "python": lambda text: compile(text, "block", "exec"),
    "sh": check_shell,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
}


def places(block: Block) -> str:
    return block.place


@pytest.mark.parametrize("block", BLOCKS, ids=places)
def test_a_block_is_valid_in_its_language(block: Block) -> None:
    check = CHECKS.get(block.language)

    if check is not None:
        check(block.text)


@pytest.mark.parametrize("block", BLOCKS, ids=places)
def test_a_block_is_run_or_its_page_says_why_not(block: Block) -> None:
    is_run = is_run_in_page(block) or block.run_by or block.copy_of
    is_checked = block.is_settings or (block.language in CHECKS and block.language not in ("python", "sh"))

    assert is_run or is_checked or block.not_run or block.language in FOR_READERS, (
        "write above the block: <!-- not run: REASON --> or <!-- run by tests/FILE -->"
    )


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.run_by], ids=places)
def test_a_test_that_runs_a_block_names_its_page(block: Block) -> None:
    test = ROOT / str(block.run_by)

    assert test.is_file()
    assert block.page in test.read_text()


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.copy_of], ids=places)
def test_a_block_shows_the_file_that_it_names(block: Block) -> None:
    assert block.text == (ROOT / str(block.copy_of)).read_text()


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "sh"], ids=places)
def test_the_targets_of_make_exist(block: Block) -> None:
    for target in re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.is_settings], ids=places)
def test_settings_in_a_block_exist(block: Block) -> None:
    names = re.findall(r"^(HEADRACE_\w+)=", block.text, re.MULTILINE)

    assert [name for name in names if name not in SETTINGS and "_PROVIDER_" not in name] == []


def test_pages_with_blocks_of_each_kind_are_found() -> None:
    assert {"README.md", "docs/clients.md", "clients/python/README.md"} <= {block.page for block in BLOCKS}
    assert {block.file for block in BLOCKS if block.page == "README.md"} >= {"my_pipelines.py"}
