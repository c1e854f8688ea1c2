"""Installs the generators of clients into `.generators`, for tests/journey/test_generated_clients.py.

Without Node or a package index it prints one line and exits with 0: the tests are skipped.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("generators")
_TIMEOUT_SECONDS: Final = 120


def main(target: Path) -> str:
    """Install both kinds of generators below *target*. Return the line that says what was done."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed: the tests of generated clients are skipped"
    stamp = target / ".installed"
    versions = (_SOURCE / "package.json").read_text() + (_SOURCE / "requirements.txt").read_text()
    if stamp.exists() and stamp.read_text() == versions:
        return f"the generators are in {target}"
    target.mkdir(exist_ok=True)
    shutil.copy(_SOURCE / "package.json", target)
    venv = target / "venv"
    python = str(venv / "bin" / "python")
    requirements = str(_SOURCE / "requirements.txt")
    commands = (
        [npm, "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(target)],
        [sys.executable, "-m", "venv", str(venv)],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements],
    )
    for command in commands:
        try:
            subprocess.run(command, timeout=_TIMEOUT_SECONDS, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip() or error.stdout.strip() or "no reason given").splitlines()[-1]
            return f"{Path(command[0]).name} failed ({last}): the tests of generated clients are skipped"
        except subprocess.TimeoutExpired:
            return f"{Path(command[0]).name} took too long: the tests of generated clients are skipped"
    stamp.write_text(versions)
    return f"installed the generators into {target}"


if __name__ == "__main__":
    print(main(Path(sys.argv[1]).resolve()))
