"""Redaction of credentials in texts, fields and logs."""

import io
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
import structlog

from headrace.adapters.logs import configure_logging
from headrace.api.auth.tokens import Tokens
from headrace.domain.accounts.keys import prefix_of
from headrace.domain.redaction import REDACTED, is_secret_name, redact, redact_values
from headrace.settings import ProviderSettings, Settings
from headrace.workers.log_fields import plain_fields
from headrace.workers.values import job_error, safe_text

NOW = datetime(2030, 1, 1, tzinfo=UTC)
# Fixed values, because they become part of test names, which all processes must share.
KEY = f"hr_0123456789ab_{'Kx-_7' * 8}abc"
JWT = Tokens("x" * 32, None).issue_job(UUID(int=7), "read", now=NOW, until=NOW + timedelta(hours=1))
SECRET_KEY = 'a "quoted" \\ key of settings'
# Each text with the part that must be redacted.
TEXTS = [
    (f"sent {KEY} to", KEY),
    (f"cannot read {JWT}", JWT.split(".")[2]),
    ("Authorization: Bearer opaque-but-1-secret", "opaque-but-1-secret"),
    ("{'authorization': 'Basic dXNlcjpwYXNz'}", "dXNlcjpwYXNz"),
    ("(b'cookie', b'headrace_access=opaque; other=two')", "opaque"),
    ("postgresql://headrace:hunter2@db:5432/headrace", "hunter2"),
    ("redis://:hunter2@redis:6379/0", "hunter2"),
    ("https://user:p@ss@host/path", "p@ss"),
    ("GET /api/v1/jobs/1/ws?after=0&token=hunter2&batch=true", "hunter2"),
    ("/auth/callback/github?code=hunter2&state=x", "hunter2"),
    ("b'access_token=hunter2'", "hunter2"),
    ("client_secret=hunter2", "hunter2"),
    ("gho_16C7e42F292c6912E7710c838347Ae178B4a", "gho_16C7e42F292c6912E7710c838347Ae178B4a"),
]
INNOCENT = [
    "the step took longer than 3 s",
    "Bearer authentication failed",
    "http://localhost:8000/docs and a@b.c",
    "status_code=404 tokens=17 max_token=3",
    "authorization: you may not do that",
    "hr_ is a prefix, eyJ another",
]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], io.StringIO]]:
    """Send the log into a text buffer; True: with the production format."""

    def listen(as_json: bool) -> io.StringIO:
        written = io.StringIO()
        monkeypatch.setattr(sys, "stderr", written)
        settings = Settings(
            secret_key=SECRET_KEY,
            database_url="postgresql://u:from-a-url@h/d",
            provider_settings=(ProviderSettings(name="p", client_id="c", client_secret="of-a-provider"),),
        )
        configure_logging("info", as_json=as_json, secrets=settings.secrets)
        return written

    yield listen
    monkeypatch.undo()
    configure_logging("info", as_json=False)


@pytest.mark.parametrize(("text", "secret"), TEXTS)
def test_a_credential_is_redacted_and_the_rest_is_kept(text: str, secret: str) -> None:
    shown = redact(text)

    assert secret not in shown
    assert REDACTED in shown
    assert shown[:3] == text[:3] or text.startswith("gho_")
    assert redact(shown) == shown


@pytest.mark.parametrize("text", INNOCENT)
def test_texts_without_credentials_are_unchanged(text: str) -> None:
    assert redact(text) == text


def test_the_prefix_of_an_api_key_is_kept() -> None:
    assert redact(KEY) == f"{KEY[:15]}_{REDACTED}"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    [
        "eyJ",
        "eyJ-",
        "cookie:",
        "cookie=",
        "authorization ",
        "authorization" + " " * 99,
        "bearer ",
        "://a:",
        "token=",
    ],
)
def test_redaction_is_fast_on_texts_that_almost_match(piece: str) -> None:
    text = piece * (2**20 // len(piece))

    # A pattern that restarts at each piece takes minutes here.
    assert len(redact(text)) <= len(text) * 3


@pytest.mark.parametrize("name", ["token", "X-Api-Key", "client_secret", "Set-Cookie", "password", "code"])
def test_names_of_credentials_are_recognised(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["status_code", "key", "tokenizer", "event", "job_id", "idempotency_key"])
def test_other_names_are_not_taken_for_credentials(name: str) -> None:
    assert not is_secret_name(name)


def test_values_are_redacted_at_every_depth() -> None:
    value = {"a": [{"b": f"sent {KEY}", "count": 3}], "token": "short", "tokens": 5}

    assert redact_values(value, is_secret_name) == {
        "a": [{"b": f"sent {KEY[:15]}_{REDACTED}", "count": 3}],
        "token": REDACTED,
        "tokens": 5,
    }


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(("text", "secret"), TEXTS)
def test_no_log_line_shows_a_credential(
    log: Callable[[bool], io.StringIO], as_json: bool, text: str, secret: str
) -> None:
    written = log(as_json)

    structlog.get_logger("ours").warning("said", what=text, deep={"in": [text]})
    logging.getLogger("of.a.library").warning("it said %s", text)

    assert len(written.getvalue().splitlines()) == 2
    assert secret not in written.getvalue()


@pytest.mark.parametrize("as_json", [True, False])
def test_no_log_line_shows_a_value_with_the_name_of_a_credential(
    log: Callable[[bool], io.StringIO], as_json: bool
) -> None:
    written = log(as_json)

    structlog.get_logger("ours").warning("said", password="plain", headers={"cookie": "plain"}, count=3)

    assert "plain" not in written.getvalue()
    assert "count" in written.getvalue()


@pytest.mark.parametrize("as_json", [True, False])
def test_no_traceback_shows_a_credential(log: Callable[[bool], io.StringIO], as_json: bool) -> None:
    written = log(as_json)

    def refuse() -> None:
        raise ValueError(f"refused {KEY}")

    def reach() -> None:
        try:
            refuse()
        except ValueError as error:
            raise RuntimeError(f"cannot reach https://u:hunter2@h with {JWT}") from error

    try:
        reach()
    except RuntimeError:
        structlog.get_logger("ours").exception("failed")
        logging.getLogger("of.a.library").exception("failed")

    text = written.getvalue()
    assert text.count("RuntimeError: cannot reach") == 2
    assert not any(secret in text for secret in (KEY, "hunter2", JWT.split(".")[2]))


@pytest.mark.parametrize("as_json", [True, False])
def test_no_log_line_shows_a_secret_of_the_settings(
    log: Callable[[bool], io.StringIO], as_json: bool
) -> None:
    written = log(as_json)

    structlog.get_logger("ours").warning(f"see {SECRET_KEY}, from-a-url, of-a-provider", also=SECRET_KEY)

    text = written.getvalue()
    forms = (SECRET_KEY, msgspec.json.encode(SECRET_KEY).decode()[1:-1], repr(SECRET_KEY)[1:-1])
    assert not any(secret in text for secret in (*forms, "from-a-url", "of-a-provider"))
    assert text.count(REDACTED) == 4


def test_errors_and_log_fields_of_steps_are_stored_without_credentials() -> None:
    error = job_error("step_failed", f"HTTPError: 401 for https://u:hunter2@h/x with {KEY}")
    fields = plain_fields({"url": "redis://:hunter2@h", "sent": [KEY], "n": 3})

    assert "hunter2" not in error.message
    assert KEY not in error.message
    assert fields == {"url": f"redis://:{REDACTED}@h", "sent": [f"{KEY[:15]}_{REDACTED}"], "n": 3}


def test_no_part_of_a_credential_at_the_cut_of_a_long_text_is_kept() -> None:
    for before in range(60):
        kept = safe_text("x" * (8192 - before) + " " + KEY + "x" * 9000, 8192)

        assert KEY[16:30] not in kept


def test_the_key_of_these_tests_has_the_form_of_an_api_key() -> None:
    assert prefix_of(KEY) == KEY[:15]
