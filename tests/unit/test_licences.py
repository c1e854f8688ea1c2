"""Licences and known vulnerabilities of the installed packages."""

from typing import Any

import audit
import pytest
from licences import ROOT, Package, locked_packages


def test_every_locked_package_has_an_allowed_licence() -> None:
    packages = locked_packages()

    assert len(packages) > 50
    assert [package for package in packages if not package.is_allowed] == []


def test_the_page_lists_every_locked_package() -> None:
    page = (ROOT / "docs" / "licences.md").read_text()

    listed = {line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.startswith("| ")}
    assert listed - {"package"} == {package.name for package in locked_packages()}


@pytest.mark.parametrize(
    ("licence", "is_allowed"),
    [
        ("MIT", True),
        ("BSD License", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("LGPL-2.1-or-later", True),
        ("GNU Lesser General Public License v3 (LGPLv3)", True),
        ("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-2.0-or-later", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("AGPL-3.0-only", False),
        ("GNU Affero General Public License v3", False),
        ("Proprietary", False),
        ("unknown", False),
    ],
)
def test_strong_copyleft_and_unknown_licences_are_refused(licence: str, is_allowed: bool) -> None:
    assert Package("some", licence).is_allowed is is_allowed


@pytest.mark.parametrize(
    ("packages", "code", "last"),
    [
        ([], 3, "not audited: the database of vulnerabilities cannot be reached, or knows no package"),
        (
            [{"name": "a", "skip_reason": "not found"}],
            3,
            "not audited: the database of vulnerabilities cannot be reached, or knows no package",
        ),
        (
            [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}],
            0,
            "1 packages audited, 0 findings, 1 unknown to the database",
        ),
        (
            [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}],
            1,
            "1 packages audited, 1 findings, 0 unknown to the database",
        ),
    ],
)
def test_the_audit_reports_findings_and_a_database_that_it_could_not_query(
    packages: list[dict[str, Any]], code: int, last: str
) -> None:
    exit_code, lines = audit.summarise(packages)

    assert (exit_code, lines[-1]) == (code, last)
    assert ("a 1: PYSEC-1, fixed in: 2" in lines) == (code == 1)
