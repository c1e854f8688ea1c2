"""The TypeScript client: its own tests, and its package, which has no dependencies."""

import json
import subprocess

from conformance.node import NODE, TYPESCRIPT, needs_node


@needs_node
def test_the_typescript_tests_pass() -> None:
    run = subprocess.run(
        [NODE, "--test"], cwd=TYPESCRIPT, capture_output=True, text=True, timeout=60, check=False
    )

    assert run.returncode == 0, run.stdout


def test_the_typescript_client_has_no_dependencies() -> None:
    package = json.loads((TYPESCRIPT / "package.json").read_text())

    assert not [name for name in package if name.lower().endswith("dependencies")]
    assert not list(TYPESCRIPT.glob("*lock*"))
