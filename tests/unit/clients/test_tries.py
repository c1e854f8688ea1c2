"""Which calls are sent again, and when."""

from typing import Any

import httpx
import pytest

from headrace_client import calls
from headrace_client.backoff import Backoff
from headrace_client.errors import ApiError, Fault, UnreachableError
from headrace_client.tries import Tries

SUBMIT = calls.submit("noop", None, None, {})
CANCEL = calls.cancel("job")
REQUEST = httpx.Request("GET", "http://here")
LOST = httpx.ReadError("reset")
NOT_SENT = httpx.ConnectError("refused")


def answer(status: int, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, request=REQUEST)


def tries(call: calls.Call[Any], again: int = 3) -> Tries:
    return Tries("http://here", call, again, Backoff(lambda _, limit: limit))


@pytest.mark.parametrize(
    ("call", "outcome", "pause"),
    [
        (SUBMIT, LOST, 0.2),
        (SUBMIT, NOT_SENT, 0.2),
        (SUBMIT, httpx.ReadTimeout("slow"), 0.2),
        (SUBMIT, answer(502), 0.2),
        (SUBMIT, answer(503, Retry_After="2"), 2.2),
        (SUBMIT, answer(429, Retry_After="1"), 1.2),
        (SUBMIT, answer(429, Retry_After="3600"), None),
        (SUBMIT, answer(500), None),
        (SUBMIT, answer(422), None),
        (SUBMIT, answer(202), None),
        (CANCEL, LOST, None),
        (CANCEL, NOT_SENT, 0.2),
        (CANCEL, answer(503), 0.2),
        (CANCEL, answer(502), None),
    ],
)
def test_a_call_is_sent_again_where_that_is_safe(
    call: calls.Call[Any], outcome: httpx.Response | httpx.TransportError, pause: float | None
) -> None:
    assert tries(call).after(outcome) == pause


def test_a_call_is_sent_again_so_often_and_no_more() -> None:
    row = tries(SUBMIT, again=2)

    assert [row.after(LOST) for _ in range(3)] == [0.2, 0.4, None]


def test_a_submission_has_a_key_of_its_own_unless_it_is_given_one() -> None:
    keys = {calls.submit("noop", None, None, {}).key for _ in range(2)}

    assert len(keys) == 2
    assert calls.submit("noop", None, "mine", {}).key == "mine"


def test_a_problem_becomes_an_error_with_its_parts() -> None:
    body = (
        b'{"status":422,"code":"params_invalid","detail":"they do not fit",'
        b'"errors":[{"path":"$.params.count","message":"too small"}],"new":1}'
    )
    refused = httpx.Response(422, content=body, headers={"Retry-After": "7"}, request=REQUEST)

    with pytest.raises(ApiError) as raised:
        tries(SUBMIT).answer(refused)

    error = raised.value
    assert (error.status, error.code, error.detail, error.retry_after) == (
        422,
        "params_invalid",
        "they do not fit",
        7.0,
    )
    assert error.errors == (Fault("$.params.count", "too small"),)


def test_an_answer_that_is_no_problem_is_an_error_all_the_same() -> None:
    with pytest.raises(ApiError, match="http://here answers 500"):
        tries(SUBMIT).answer(answer(500))


def test_what_answers_something_else_is_not_the_service() -> None:
    page = httpx.Response(200, content=b"<html>")

    with pytest.raises(UnreachableError, match="not Headrace"):
        tries(SUBMIT).read(page, SUBMIT)
