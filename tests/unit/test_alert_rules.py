"""Prometheus's own tool accepts the shipped rules and configuration, and the unit tests of the rules hold."""

import shutil
import subprocess
from pathlib import Path

import pytest

from support.patience import PATIENCE_SECONDS

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
PROMTOOL = shutil.which("promtool") or "promtool"


def run_promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROMTOOL, *arguments],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian's package prometheus has it)"
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "rules.yml"),
        # The file of the key exists only in the container.
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("test", "rules", "rules.test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts_what_is_shipped(arguments: tuple[str, ...]) -> None:
    done = run_promtool(*arguments)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_each_rule_has_a_unit_test_in_which_it_fires() -> None:
    rules, tests = ((FOLDER / name).read_text() for name in ("rules.yml", "rules.test.yml"))
    names = {line.split()[-1] for line in rules.splitlines() if "- alert:" in line}

    assert {name for name in names if f'{{alertname="{name}"}}' in tests} == names
