"""Texts of an author's code, as they are stored: within their limits, and fit for PostgreSQL."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.events.types import JobError
from headrace.workers.values import (
    error_text,
    finite_number,
    job_error,
    named_error,
    plain_text,
    safe_text,
)

NO_TEXT = "(its text cannot be had)"
KEY = f"hr_0123456789ab_{'Kx-_7' * 8}abc"
HIDDEN = "hr_0123456789ab_[redacted]"
TEXTS = st.text(st.sampled_from("ab é\N{MUSICAL SYMBOL G CLEF}\0\ud800"), max_size=60)


class SpeakingError(Exception):
    """An error whose text is *shown*, or whose `__str__` raises it."""

    def __init__(self, shown: object) -> None:
        super().__init__()
        self.shown = shown

    def __str__(self) -> str:
        if isinstance(self.shown, Exception):
            raise self.shown
        return self.shown  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (0.5, 0.5), (10**400, 0.0), (-(10**400), 0.0), (math.inf, 0.0), (math.nan, 0.0)],
    ids=["whole", "part", "huge", "negative", "inf", "nan"],
)
def test_a_number_that_no_float_holds_counts_as_0(value: float, number: float) -> None:
    assert finite_number(value) == number


GROUP = ExceptionGroup("many", [ExceptionGroup("inner", [ValueError("a"), KeyError("b")]), OSError()])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (GROUP, "ExceptionGroup: many (ValueError: a; KeyError: 'b'; OSError)"),
        (
            BaseExceptionGroup("", [OSError(str(number)) for number in range(6)]),
            "ExceptionGroup: (OSError: 0; OSError: 1; OSError: 2; OSError: 3; OSError: 4; and more)",
        ),
        (SpeakingError(RuntimeError()), f"SpeakingError: {NO_TEXT}"),
        (
            ExceptionGroup("one", [SpeakingError(RuntimeError())]),
            f"ExceptionGroup: one (SpeakingError: {NO_TEXT})",
        ),
    ],
    ids=lambda case: type(case).__name__,
)
def test_an_error_is_shown_with_its_class_and_a_group_with_its_errors(error: Exception, text: str) -> None:
    assert named_error(error) == text


@pytest.mark.parametrize("text", ["", "ten bytes.", "é" * 5])
def test_a_text_within_the_limit_is_unchanged(text: str) -> None:
    assert plain_text(text, 10) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("eleven byte", "eleven ..."),
        ("é" * 6, "ééé..."),
        ("\N{MUSICAL SYMBOL G CLEF}" * 3, "\N{MUSICAL SYMBOL G CLEF}..."),
        ("\0" * 4, "\N{SYMBOL FOR NULL}" * 2 + "..."),
    ],
)
def test_a_longer_text_is_cut_between_characters_and_marked_with_dots(text: str, kept: str) -> None:
    assert plain_text(text, 10) == kept


def test_characters_that_cannot_be_stored_are_replaced() -> None:
    assert plain_text("a\0b\ud800c", 100) == "a\N{SYMBOL FOR NULL}b?c"


@given(TEXTS, st.integers(min_value=3, max_value=70))
def test_a_plain_text_can_be_stored_and_is_within_its_limit(text: str, limit: int) -> None:
    kept = plain_text(text, limit)

    assert len(kept.encode()) <= limit
    assert "\0" not in kept


@given(TEXTS, st.integers(min_value=3, max_value=70))
def test_a_plain_text_is_not_changed_again(text: str, limit: int) -> None:
    kept = plain_text(text, limit)

    assert plain_text(kept, limit) == kept


@given(TEXTS, st.integers(min_value=3, max_value=70))
def test_a_cut_text_is_as_long_as_its_limit_allows(text: str, limit: int) -> None:
    whole, kept = plain_text(text, 1_000), plain_text(text, limit)

    assert kept == whole or whole.startswith(kept[:-3])
    assert kept == whole or len(kept.encode()) > limit - 4


def test_a_safe_text_contains_no_credentials() -> None:
    assert safe_text(f"sent {KEY} twice", 100) == f"sent {HIDDEN} twice"


def test_the_limit_applies_to_the_redacted_text() -> None:
    assert safe_text(f"{KEY} {'x' * 20}", len(HIDDEN) + 21) == f"{HIDDEN} {'x' * 20}"


def test_a_credential_that_crosses_the_limit_is_redacted() -> None:
    assert safe_text(f"{'x' * 60} {KEY}", 92) == f"{'x' * 60} {HIDDEN}"


def test_a_safe_text_is_cut_like_a_plain_text() -> None:
    assert safe_text("x" * 1_000, 10) == "xxxxxxx..."
    assert safe_text("a\0b\ud800c", 100) == "a\N{SYMBOL FOR NULL}b?c"


@given(st.lists(st.sampled_from(["x", "é", "token=a ", f" {KEY} ", " "]), max_size=40), st.integers(3, 200))
def test_a_safe_text_is_within_its_limit_after_redaction(parts: list[str], limit: int) -> None:
    kept = safe_text("".join(parts), limit)

    assert len(kept.encode()) <= limit


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("the input is silent"), "the input is silent"),
        (ValueError(), ""),
        (KeyError("channel"), "'channel'"),
        (ValueError("a\0b"), "a\N{SYMBOL FOR NULL}b"),
        (SpeakingError("of its own"), "of its own"),
        (SystemExit(3), "3"),
    ],
    ids=repr,
)
def test_the_text_of_an_error_is_its_str(error: BaseException, text: str) -> None:
    assert error_text(error) == text


@pytest.mark.parametrize("shown", [RuntimeError("no"), RecursionError(), None, 3, b"bytes"], ids=repr)
def test_an_error_with_a_failing_str_has_a_replacement_text(shown: object) -> None:
    assert error_text(SpeakingError(shown)) == NO_TEXT


def test_the_text_of_an_error_has_at_most_16_kib() -> None:
    assert error_text(ValueError("x" * 16_384)) == "x" * 16_384
    assert error_text(ValueError("x" * 16_385)) == "x" * 16_381 + "..."


def test_a_job_error_keeps_its_arguments() -> None:
    assert job_error("silence", "the input is silent", "mix[3]") == JobError(
        code="silence", message="the input is silent", step="mix[3]"
    )


def test_a_job_error_may_have_no_step() -> None:
    assert job_error("internal_error", "broken").step is None


@pytest.mark.parametrize(
    ("code", "kept"),
    [(404, "404"), (None, "None"), ("a\0b", "a\N{SYMBOL FOR NULL}b"), ("x" * 65, "x" * 61 + "...")],
)
def test_a_code_of_any_type_becomes_a_text(code: object, kept: str) -> None:
    assert job_error(code, "").code == kept


def test_the_message_of_a_job_error_has_no_credentials_and_at_most_4000_bytes() -> None:
    assert job_error("failed", f"refused {KEY}").message == f"refused {HIDDEN}"
    assert job_error("failed", "x" * 4_000).message == "x" * 4_000
    assert job_error("failed", "x" * 4_001).message == "x" * 3_997 + "..."
