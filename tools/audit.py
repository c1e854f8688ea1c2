"""Checks the locked packages for known vulnerabilities with pip-audit. Exits with 0, 1 or 3.

1: at least one package has a vulnerability. 3: unknown, since the database did not process for a whole lock.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("requirements-dev.lock", "requirements-docs.lock", "requirements-embedded.lock")
VULNERABLE, UNKNOWN = 1, 3
_TIMEOUT_SECONDS: Final = 600
_COMMAND: Final = (
    *(sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off"),
    *("--timeout", "10", "--format", "json"),
)


class Finding(msgspec.Struct, frozen=True):
    """A package with a vulnerability, and the versions that fix it."""

    package: str
    vulnerability: str
    fixed_in: str


def run_pip_audit(lock: str) -> list[dict[str, Any]]:
    """Return pip-audit's entry for each package of *lock*; an empty list if the audit failed."""
    try:
        process = subprocess.run(
            [*_COMMAND, "-r", ROOT / lock], capture_output=True, check=False, timeout=_TIMEOUT_SECONDS
        )
        output: dict[str, list[dict[str, Any]]] = msgspec.json.decode(process.stdout)
    except (msgspec.DecodeError, subprocess.TimeoutExpired):
        return []
    return output["dependencies"]


def summarise(packages: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """Return the exit code and the lines to print."""
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        return UNKNOWN, [
            "not audited: the database of vulnerabilities cannot be reached, or knows no package"
        ]
    findings = [
        Finding(
            f"{package['name']} {package['version']}",
            vulnerability["id"],
            ", ".join(vulnerability["fix_versions"]) or "none yet",
        )
        for package in audited
        for vulnerability in package["vulns"]
    ]
    lines = [
        f"{finding.package}: {finding.vulnerability}, fixed in: {finding.fixed_in}" for finding in findings
    ]
    skipped = len(packages) - len(audited)
    lines.append(
        f"{len(audited)} packages audited, {len(findings)} findings, {skipped} unknown to the database"
    )
    return VULNERABLE if findings else 0, lines


def main() -> int:
    packages_by_lock = {lock: run_pip_audit(lock) for lock in LOCKS}
    code, lines = summarise([package for packages in packages_by_lock.values() for package in packages])
    print("\n".join(lines))
    missing = [lock for lock, packages in packages_by_lock.items() if not packages]
    if code == 0 and missing:
        print(f"not audited: {', '.join(missing)}")
        return UNKNOWN
    return code


if __name__ == "__main__":
    sys.exit(main())
