"""Parameters on the command line, and the log of a process."""

from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from headrace.cli import errors
from headrace.cli.api_client import ApiClient
from headrace.cli.errors import BadTokenError, BadUrlError, RefusedError, watch_command
from headrace.cli.options import moment, past_moment, read_params, submission_key
from headrace.cli.process_logs import LogReader, find_refusal, notable

JOB = "01a1fcda-1222-71e3-b3dd-702451ba443d"


def test_params_are_read_from_json_text_or_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text('{"name": "Käse"}', encoding="utf-8")

    assert read_params('{"count": 3}') == {"count": 3}
    assert read_params(f"@{file}") == {"name": "Käse"}


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "null", "count=3", "@", "@/no/such/file"])
def test_other_params_are_refused_with_an_error_message(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not JSON: |is not a JSON object|cannot read"):
        read_params(text)


def test_params_in_single_quotes_are_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"^it is not JSON: object keys must be strings \(byte 1\)$"):
        read_params("{'count': 3}")


def test_a_params_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(b"\x89PNG\xff")

    with pytest.raises(ValueError, match="is not UTF-8 text"):
        read_params(f"@{file}")


@pytest.mark.parametrize(
    "url", ["", "moon", "ftp://here", "http://", "http://here:port", "http://he\x01re", "127.0.0.1:8000"]
)
def test_a_bad_url_is_refused_before_any_request(url: str) -> None:
    with pytest.raises(BadUrlError):
        ApiClient(url, None)


def test_the_watch_command_contains_only_options_that_are_not_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(errors, "typed_command", lambda: "headrace")

    assert watch_command("http://127.0.0.1:8000", JOB) == f"headrace watch {JOB}"
    assert watch_command("http://far:1", JOB, 9) == f"headrace watch {JOB} --after 9 --url http://far:1"


def test_a_fault_that_repeats_the_error_message_is_left_out() -> None:
    error = RefusedError("too late", 422, "validation_failed", [("$.a", "too late"), ("$.b", "too big")])

    assert str(error) == "too late\n  $.b: too big"


def test_warnings_and_errors_are_notable_in_both_log_formats() -> None:
    assert (
        notable("2026-01-01T12:00:00.1Z [warning  ] redis_away    error=Gone")
        == "[warning ] redis_away error=Gone"
    )
    assert notable('{"event": "broke", "level": "error"}') == '{"event": "broke", "level": "error"}'
    assert notable("2026-01-01T12:00:00.1Z [info     ] worker_ready") is None
    assert notable("2026-01-01T12:00:00.1Z [warning  ] local_auth   host=127.0.0.1") is None


def test_a_long_log_line_is_cut() -> None:
    text = notable("[error    ] broke traceback=" + "x" * 5000)

    assert text is not None
    assert len(text) == 300


def test_the_last_refusal_in_the_log_is_the_reason() -> None:
    lines = ["[info] starting", "headrace: first", "headrace worker: this Redis evicts"]

    assert find_refusal(lines) == "this Redis evicts"
    assert find_refusal(["nothing"]) is None


def test_the_log_reader_returns_only_new_complete_lines(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    path.write_text("old\n")
    reader = LogReader(path)

    with path.open("a") as log:
        log.write("new\nhal")
        log.flush()
        first = reader.new_lines()
        log.write("f\n")

    assert (first, reader.new_lines()) == (["new"], ["half"])


@pytest.mark.parametrize("token", ["t\u00f6ken", "to\nken", " token"])
def test_a_token_that_is_not_a_valid_header_value_is_refused(token: str) -> None:
    with pytest.raises(BadTokenError):
        ApiClient("http://here", token)


@pytest.mark.parametrize("key", ["", "k\u00e4y", "a\nb", " a"])
def test_a_key_that_is_not_a_valid_header_value_is_refused(key: str) -> None:
    with pytest.raises(click.BadParameter):
        submission_key(key)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2027-01-31T08:00:00+02:00", datetime(2027, 1, 31, 6, tzinfo=UTC)),
        ("2027-01-31T08:00:00Z", datetime(2027, 1, 31, 8, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_with_its_offset(text: str, expected: datetime) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400)])
def test_a_pause_counts_from_now(text: str, seconds: int) -> None:
    before = datetime.now(UTC)

    assert 0 <= (moment(text) - before).total_seconds() - seconds < 60
    assert 0 <= (past_moment(text) - before).total_seconds() + seconds < 60


@pytest.mark.parametrize("text", ["", "soon", "10", "-1m", "1y", "2027-13-01"])
def test_other_texts_are_no_time(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time"):
        moment(text)
