"""The TypeScript client's own tests, and what its package may not hold."""

import json
import subprocess

from conformance.node import NODE, TYPESCRIPT, needs_node


@needs_node
def test_its_tests_pass() -> None:
    run = subprocess.run(
        [NODE, "--test"], cwd=TYPESCRIPT, capture_output=True, text=True, timeout=60, check=False
    )

    assert run.returncode == 0, run.stdout


def test_it_depends_on_nothing() -> None:
    package = json.loads((TYPESCRIPT / "package.json").read_text())

    assert not [name for name in package if name.lower().endswith("dependencies")]
    assert not list(TYPESCRIPT.glob("*lock*"))
