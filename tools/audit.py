"""Asks the index's database whether a locked package has a known vulnerability. Ends with 0, 1 or 3.

1: one has. 3: nobody knows, since the database did not answer for any package.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("requirements-dev.lock", "requirements-embedded.lock")
FOUND, NOT_ASKED = 1, 3
_SECONDS: Final = 600
_COMMAND: Final = (
    *(sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off"),
    *("--timeout", "10", "--format", "json"),
)


class Finding(msgspec.Struct, frozen=True):
    """A package with a vulnerability, and the versions that have it no more."""

    package: str
    vulnerability: str
    fixed_in: str


def ask(lock: str) -> list[dict[str, Any]]:
    """What pip-audit says of each package of *lock*; nothing when it could not ask."""
    try:
        answer = subprocess.run(
            [*_COMMAND, "-r", ROOT / lock], capture_output=True, check=False, timeout=_SECONDS
        )
        said: dict[str, list[dict[str, Any]]] = msgspec.json.decode(answer.stdout)
    except (msgspec.DecodeError, subprocess.TimeoutExpired):
        return []
    return said["dependencies"]


def judge(packages: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """The exit code, and what to print."""
    asked = [one for one in packages if "vulns" in one]
    if not asked:
        return NOT_ASKED, [
            "not audited: the database of vulnerabilities cannot be reached, or knows no package"
        ]
    findings = [
        Finding(
            f"{one['name']} {one['version']}", found["id"], ", ".join(found["fix_versions"]) or "none yet"
        )
        for one in asked
        for found in one["vulns"]
    ]
    lines = [f"{one.package}: {one.vulnerability}, fixed in: {one.fixed_in}" for one in findings]
    skipped = len(packages) - len(asked)
    lines.append(
        f"{len(asked)} packages audited, {len(findings)} findings, {skipped} unknown to the database"
    )
    return FOUND if findings else 0, lines


def main() -> int:
    answers = {lock: ask(lock) for lock in LOCKS}
    code, lines = judge([one for answer in answers.values() for one in answer])
    print("\n".join(lines))
    missing = [lock for lock, answer in answers.items() if not answer]
    if code == 0 and missing:
        print(f"not audited: {', '.join(missing)}")
        return NOT_ASKED
    return code


if __name__ == "__main__":
    sys.exit(main())
