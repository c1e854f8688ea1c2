"""Installs built packages into an environment of its own, without a network."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path


def run(*command: str, cwd: Path | None = None, check: bool = True) -> str:
    """Run *command* and return what it prints."""
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def build_package(source: Path, wheels: Path, *options: str) -> None:
    """Build the package in *source* with the tools of the tests' environment."""
    run(sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(wheels), str(source))


def create_environment(folder: Path, wheels: Path) -> Path:
    """Install all of *wheels* into a new environment in *folder*. Return the folder of its commands.

    It imports the dependencies of the tests' own environment, but none of its editable installs, as a path
    in a .pth file adds packages and follows no other .pth file.
    """
    venv.create(folder, symlinks=True)
    commands = folder / "bin"
    run(
        *(sys.executable, "-m", "pip", "--python", str(commands / "python"), "install", "--quiet"),
        *("--no-index", "--no-deps", "--disable-pip-version-check", *map(str, wheels.glob("*.whl"))),
    )
    (packages,) = (folder / "lib").glob("python3*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return commands
