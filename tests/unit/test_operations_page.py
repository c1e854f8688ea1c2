"""docs/operations.md names every alert, only commands that exist, and the numbers of the code."""

import re
from pathlib import Path
from typing import Final

import yaml

from headrace.adapters.connection_counts import OF_A_WORKER, of_an_api
from headrace.cli.main import cli
from headrace.settings import Settings

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
OUTAGES: Final = (ROOT / "docs" / "outages.md").read_text()
RULES: Final = ROOT / "deploy" / "prometheus" / "rules.yml"


def test_each_alert_leads_to_a_section() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}

    assert len(alerts) >= 8
    assert set(re.findall(r"`(Headrace[A-Za-z]+)`", PAGE)) == alerts


def test_each_row_of_the_table_leads_to_a_section_that_exists() -> None:
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)}
    targets = re.findall(r"^\| .*\]\(#([a-z-]+)\) \|$", PAGE, re.MULTILINE)

    assert len(targets) >= 9
    assert set(targets) <= headings


def test_only_commands_that_exist_are_named() -> None:
    named = set(re.findall(r"(?:`|^|=\S+ )headrace ([a-z-]+)", PAGE, re.MULTILINE))

    assert {"backup", "restore", "migrate", "doctor"} <= named
    assert named - set(cli.commands) == set()


def test_the_numbers_of_connections_are_those_of_the_code() -> None:
    of_api = of_an_api(Settings().database_connections)

    assert f"an API opens at most {of_api} connections, a worker {OF_A_WORKER}." in PAGE
    assert f"connections to PostgreSQL, {OF_A_WORKER} for each worker and {of_api} for each API" in PAGE
    assert f"an API process uses at most {of_api} connections, a worker {OF_A_WORKER}." in OUTAGES
