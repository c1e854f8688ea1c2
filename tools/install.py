"""Installs the packages of lock files into this environment, and shows how far it is.

    python tools/install.py requirements.lock requirements-build.lock --without faker,polyfactory

pip prints nothing for most of its time if it is quiet, and hundreds of lines if it is not. This prints one
line that changes in a terminal, and elsewhere one every five seconds.
"""

import argparse
import re
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path

PACKAGE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*==", re.MULTILINE)
COLLECTED = re.compile(r"^(?:Collecting|Requirement already satisfied:?) ([A-Za-z0-9._-]+)", re.MULTILINE)
SIZE = re.compile(
    r"^ *(?P<source>Downloading|Using cached) \S+ \((?P<count>[0-9.]+) (?P<unit>bytes|kB|MB|GB)\)",
    re.MULTILINE,
)
UNITS = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}
INSTALLING = "Installing collected packages"
SECONDS_PER_LINE = 5.0
POLL_SECONDS = 0.3
MAX_ERROR_LINES = 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("locks", nargs="+", type=Path)
    parser.add_argument("--wheels-only", action="store_true", help="do not build packages from source")
    parser.add_argument("--without", default="", help="packages that are left out, separated by commas")
    options = parser.parse_args()
    began = time.monotonic()
    left_out = frozenset(filter(None, options.without.split(",")))
    with tempfile.TemporaryDirectory(prefix="headrace-install-") as folder:
        locks = [without_packages(lock, left_out, Path(folder)) for lock in options.locks]
        status, output = install(locks, wheels_only=options.wheels_only)
    if status:
        print("\n".join(output[-MAX_ERROR_LINES:]), file=sys.stderr)
        return status
    seconds = time.monotonic() - began
    print(
        f"  installed in {seconds:.0f} s: {describe_sizes(output)}, .venv has {size_of_environment()} MB",
        flush=True,
    )
    return 0


def without_packages(lock: Path, names: Collection[str], folder: Path) -> Path:
    """Return a copy of *lock* in *folder* that lacks the packages *names*."""
    if not names:
        return lock
    entries = re.split(r"^(?=[A-Za-z0-9])", lock.read_text(), flags=re.MULTILINE)
    copy = folder / lock.name
    copy.write_text("".join(entry for entry in entries if entry.partition("==")[0] not in names))
    return copy


def install(locks: Sequence[Path], *, wheels_only: bool) -> tuple[int, list[str]]:
    """Install the packages of *locks* and show the progress; return the exit status of pip and its output."""
    total = sum(len(PACKAGE.findall(lock.read_text())) for lock in locks)
    # A lock names every package, so pip need not look for dependencies. Bytecode is written when a module is
    # imported first, and most modules never are.
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]
    command += ["--progress-bar", "off", "--require-hashes", "--no-deps"]
    command += ["--only-binary", ":all:"] if wheels_only else []
    command += [part for lock in locks for part in ("-r", str(lock))]
    return run(command, total)


def run(command: list[str], total: int) -> tuple[int, list[str]]:
    """Run pip and show its progress; return its exit status and its output."""
    output: list[str] = []
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    reader = threading.Thread(target=read, args=(pip, output), daemon=True)
    reader.start()
    before = count_installed()
    screen = Screen()
    try:
        while pip.poll() is None:
            screen.show(describe(output, total, count_installed() - before))
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        # The terminal has interrupted pip as well.
        pip.wait()
        sys.exit(130)
    finally:
        screen.clear()
    reader.join()
    return pip.returncode, output


def read(pip: "subprocess.Popen[str]", output: list[str]) -> None:
    assert pip.stdout is not None  # noqa: S101  (for the type checker)
    output.extend(line.rstrip() for line in iter(pip.stdout.readline, ""))


def describe(output: list[str], total: int, installed: int) -> str:
    """Return what pip does now, and how far it is."""
    text = "\n".join(output)
    if INSTALLING in text:
        return f"unpacking {min(installed, total)} of {total} packages"
    collected = len(set(COLLECTED.findall(text)))
    return f"downloading {min(collected, total)} of {total} packages"


def describe_sizes(output: list[str]) -> str:
    """Return how many megabytes pip has downloaded, and how many it has found in its cache."""
    sizes = {"Downloading": 0.0, "Using cached": 0.0}
    for match in SIZE.finditer("\n".join(output)):
        sizes[match["source"]] += float(match["count"]) * UNITS[match["unit"]]
    downloaded, cached = (round(size) for size in sizes.values())
    return f"downloaded {downloaded} MB" + (f" and took {cached} MB from pip's cache" if cached else "")


def count_installed() -> int:
    return sum(1 for _ in Path(sysconfig.get_path("purelib")).glob("*.dist-info"))


def size_of_environment() -> int:
    files = (path for path in Path(sys.prefix).rglob("*") if path.is_file() and not path.is_symlink())
    return round(sum(path.stat().st_size for path in files) / 1_000_000)


class Screen:
    """One line: it is overwritten in a terminal, and printed every five seconds elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._began = time.monotonic()
        self._next = 0.0

    def show(self, text: str) -> None:
        seconds = time.monotonic() - self._began
        if self._is_terminal:
            print(f"\r\033[K  {text}, {seconds:.0f} s", end="", flush=True)
        elif seconds >= self._next:
            self._next = seconds + SECONDS_PER_LINE
            print(f"  {text}, {seconds:.0f} s", flush=True)

    def clear(self) -> None:
        if self._is_terminal:
            print("\r\033[K", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
