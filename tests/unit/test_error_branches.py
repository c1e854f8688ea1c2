"""The coverage tools find error branches, report which of them ran, and print a table."""

from pathlib import Path
from textwrap import dedent

import coverage_table
import error_branches
import msgspec
import pytest
from error_branches import Branch, branches_in, judge


def lines_of(source: str) -> list[int]:
    return [branch.line for branch in branches_in("one.py", dedent(source).lstrip("\n"))]


def test_code_without_error_handling_has_no_error_branch() -> None:
    source = """
        try:
            first()
        finally:
            last()
        with suppress(ValueError):
            second()
    """

    assert lines_of(source) == []


def test_each_raise_is_a_branch_at_its_first_line() -> None:
    source = """
        def one(value):
            if value < 0:
                raise ValueError(
                    "below zero"
                )
            raise
    """

    assert lines_of(source) == [3, 6]


def test_the_body_of_an_except_is_a_branch_and_its_clause_is_not() -> None:
    source = """
        try:
            first()
        except ValueError:
            # of no importance
            second()
            third()
        except (TypeError, KeyError) as error:
            fourth(error)
    """

    assert lines_of(source) == [5, 8]


def test_a_body_that_begins_with_a_raise_is_one_branch() -> None:
    source = """
        try:
            first()
        except ValueError as error:
            raise KeyError from error
    """

    assert lines_of(source) == [4]


def test_a_later_raise_in_an_except_body_is_a_branch_of_its_own() -> None:
    source = """
        try:
            first()
        except ValueError as error:
            if second(error):
                raise
            raise KeyError from error
    """

    assert lines_of(source) == [4, 5, 6]


def test_a_nested_except_is_a_branch_of_its_own() -> None:
    source = """
        try:
            first()
        except ValueError:
            try:
                second()
            except KeyError:
                third()
    """

    assert lines_of(source) == [4, 7]


def test_the_body_of_an_except_star_is_a_branch() -> None:
    source = """
        try:
            first()
        except* ValueError:
            second()
    """

    assert lines_of(source) == [4]


def test_branches_in_methods_and_inner_functions_count() -> None:
    source = """
        class One:
            async def two(self):
                def three():
                    raise ValueError
                match self:
                    case 4:
                        raise KeyError
    """

    assert lines_of(source) == [4, 7]


def test_a_branch_contains_the_text_of_its_line() -> None:
    branches = branches_in("one.py", "def one():\n    raise ValueError  # never\n")

    assert branches == [Branch("one.py", 2, "raise ValueError  # never")]


NINE_OF_TEN = {"one.py": set(range(1, 10))}
TEN = [Branch("one.py", line, f"raise E{line}") for line in range(1, 11)]


def test_ninety_percent_pass_and_missed_branches_are_listed() -> None:
    assert judge(TEN, NINE_OF_TEN) == (
        0,
        ["one.py:10: did not run: raise E10", "error branches: 9 of 10 ran, 90.0 % (at least 90 %)"],
    )


def test_a_share_below_the_minimum_exits_with_one() -> None:
    code, printed = judge(TEN, NINE_OF_TEN, least=90.5)

    assert (code, printed[-1]) == (1, "error branches: 9 of 10 ran, 90.0 % (at least 90.5 %)")


def test_a_line_that_ran_in_another_file_does_not_count() -> None:
    code, printed = judge(TEN[:1], {"two.py": {1}})

    assert (code, printed) == (
        1,
        ["one.py:1: did not run: raise E1", "error branches: 0 of 1 ran, 0.0 % (at least 90 %)"],
    )


def test_a_folder_without_error_branches_fails() -> None:
    assert judge([], {}) == (1, ["error branches: 0 of 0 ran, 0.0 % (at least 90 %)"])


def test_other_covered_lines_do_not_compensate_for_a_missed_branch() -> None:
    assert judge(TEN[9:], NINE_OF_TEN)[0] == 1


def test_main_reads_the_report_and_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some" / "deep").mkdir(parents=True)
    (tmp_path / "some" / "one.py").write_text("raise ValueError\n")
    (tmp_path / "some" / "deep" / "two.py").write_text("\nraise KeyError\n")
    report = tmp_path / "report.json"
    report.write_bytes(msgspec.json.encode({"files": {"some/one.py": {"executed_lines": [1]}}}))

    assert error_branches.main(["report.json", "some"]) == 1
    assert error_branches.main(["report.json", "some", "50"]) == 0
    assert error_branches.main(["report.json"]) == 2

    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "some/deep/two.py:2: did not run: raise KeyError",
        "error branches: 1 of 2 ran, 50.0 % (at least 90 %)",
        "some/deep/two.py:2: did not run: raise KeyError",
        "error branches: 1 of 2 ran, 50.0 % (at least 50 %)",
    ]


def summary(lines: int, lines_ran: int, branches: int, branches_ran: int) -> dict[str, int]:
    return {
        "num_statements": lines,
        "covered_lines": lines_ran,
        "num_branches": branches,
        "covered_branches": branches_ran,
    }


def test_the_table_lists_files_below_ninety_percent_and_sums_up_each_folder() -> None:
    files = {
        "src/one/poor.py": summary(8, 6, 2, 1),
        "src/one/good.py": summary(9, 9, 1, 0),
        "src/ones/other.py": summary(1, 0, 0, 0),
        "src/two/full.py": summary(4, 4, 0, 0),
    }

    printed = coverage_table.table(files, ["src/one", "src/two"])

    assert [line.split() for line in printed] == [
        ["covered,", "in", "%", "lines", "branches", "both"],
        ["src/one/poor.py", "75.0", "50.0", "70.0"],
        ["src/one", "88.2", "33.3", "80.0"],
        ["src/two", "100.0", "100.0", "100.0"],
    ]


def test_a_folder_that_is_missing_from_the_report_is_refused() -> None:
    with pytest.raises(ValueError, match="src/three"):
        coverage_table.table({"src/one/good.py": summary(1, 1, 0, 0)}, ["src/three"])
