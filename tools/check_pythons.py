"""Runs the type check and the unit tests on every supported Python that this machine has, one line for each.

    python tools/check_pythons.py [VERSION ...]

It looks on the PATH and in the folders of pyenv and uv, and installs the locked packages into
.venv-pythons/<version>. A Python that is not there is named and skipped; none is downloaded.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv-pythons"
TOOL_FOLDERS = (
    Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions",
    Path(os.environ.get("UV_PYTHON_INSTALL_DIR", "~/.local/share/uv/python")).expanduser(),
)
INSTALL_SECONDS = 1_200
CHECK_SECONDS = 1_800
MAX_ERROR_LINES = 20


def main() -> int:
    results = [check(version) for version in sys.argv[1:] or VERSIONS]
    return 0 if all(results) else 1


def check(version: str) -> bool:
    """Check on one version and print its line; return whether nothing failed."""
    python = find_python(version)
    if python is None:
        print(f"{version}: not on this machine, skipped", flush=True)
        return True
    began = time.monotonic()
    environment = FOLDER / version
    steps = {
        "packages": install_command(python, environment),
        "types": [str(environment / "bin" / "mypy"), "--python-version", version],
        "unit tests": [str(environment / "bin" / "pytest"), "-q", "-n", "2", "tests/unit"],
    }
    passed = []
    for name, command in steps.items():
        result = run(command, INSTALL_SECONDS if name == "packages" else CHECK_SECONDS)
        if result.returncode:
            print(f"{version}: {name} failed with {python}", flush=True)
            print("\n".join((result.stdout + result.stderr).splitlines()[-MAX_ERROR_LINES:]), flush=True)
            return False
        passed.append((result.stdout.strip().splitlines() or [""])[-1].strip("= "))
    seconds = time.monotonic() - began
    print(f"{version}: {passed[1]}; {passed[2]}; {seconds:.0f} s with {python}", flush=True)
    return True


def find_python(version: str) -> Path | None:
    """Return an interpreter of that version."""
    candidates = [Path(found)] if (found := shutil.which(f"python{version}")) else []
    for folder in TOOL_FOLDERS:
        candidates += sorted(folder.glob(f"*{version}*/bin/python{version}"), reverse=True)
    for candidate in candidates:
        # A shim of pyenv exists for versions that it does not run.
        probe = run(
            [str(candidate), "-c", "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"], 60
        )
        if probe.returncode == 0 and probe.stdout.strip() == version:
            return candidate
    return None


def install_command(python: Path, environment: Path) -> list[str]:
    """Return a shell command that makes an environment with the locked packages and the project."""
    pip = '"$0/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps'
    script = (
        f'set -e; test -x "$0/bin/python" || "$1" -m venv "$0";'
        f" {pip} --require-hashes -r requirements-dev.lock;"
        f" {pip} --no-build-isolation --editable . --editable clients/python"
    )
    return ["sh", "-c", script, str(environment), str(python)]


def run(command: list[str], seconds: float) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    try:
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


if __name__ == "__main__":
    sys.exit(main())
