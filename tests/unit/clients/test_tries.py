"""Which calls are retried, and when."""

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


def response(status: int, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, request=REQUEST)


def tries(call: calls.Call[Any], retries: int = 3) -> Tries:
    return Tries("http://here", call, retries, Backoff(lambda _, limit: limit))


@pytest.mark.parametrize(
    ("call", "outcome", "pause"),
    [
        (SUBMIT, LOST, 0.2),
        (SUBMIT, NOT_SENT, 0.2),
        (SUBMIT, httpx.ReadTimeout("slow"), 0.2),
        (SUBMIT, response(502), 0.2),
        (SUBMIT, response(503, Retry_After="2"), 2.2),
        (SUBMIT, response(429, Retry_After="1"), 1.2),
        (SUBMIT, response(429, Retry_After="3600"), None),
        (SUBMIT, response(500), None),
        (SUBMIT, response(422), None),
        (SUBMIT, response(202), None),
        (CANCEL, LOST, None),
        (CANCEL, NOT_SENT, 0.2),
        (CANCEL, response(503), 0.2),
        (CANCEL, response(502), None),
    ],
)
def test_a_call_is_retried_only_where_that_is_safe(
    call: calls.Call[Any], outcome: httpx.Response | httpx.TransportError, pause: float | None
) -> None:
    assert tries(call).after(outcome) == pause


def test_a_call_is_retried_at_most_the_given_number_of_times() -> None:
    attempts = tries(SUBMIT, retries=2)

    assert [attempts.after(LOST) for _ in range(3)] == [0.2, 0.4, None]


def test_a_submission_has_a_new_key_unless_one_is_given() -> None:
    keys = {calls.submit("noop", None, None, {}).key for _ in range(2)}

    assert len(keys) == 2
    assert calls.submit("noop", None, "mine", {}).key == "mine"


def test_a_problem_response_becomes_an_api_error_with_its_fields() -> None:
    body = (
        b'{"status":422,"code":"params_invalid","detail":"they do not fit",'
        b'"errors":[{"path":"$.params.count","message":"too small"}],"new":1}'
    )
    problem = httpx.Response(422, content=body, headers={"Retry-After": "7"}, request=REQUEST)

    with pytest.raises(ApiError) as raised:
        tries(SUBMIT).answer(problem)

    error = raised.value
    assert (error.status, error.code, error.detail, error.retry_after) == (
        422,
        "params_invalid",
        "they do not fit",
        7.0,
    )
    assert error.errors == (Fault("$.params.count", "too small"),)


def test_an_error_response_without_a_problem_body_becomes_an_api_error() -> None:
    with pytest.raises(ApiError, match="http://here answers 500"):
        tries(SUBMIT).answer(response(500))


def test_a_response_that_is_not_json_is_reported_as_another_service() -> None:
    page = httpx.Response(200, content=b"<html>")

    with pytest.raises(UnreachableError, match="not Headrace"):
        tries(SUBMIT).read(page, SUBMIT)


def test_a_used_up_quota_is_reported_with_what_is_used_of_it() -> None:
    body = b'{"code":"quota_exceeded","detail":"full","quota":"queued_jobs","used":2,"limit":3}'

    with pytest.raises(ApiError, match="full") as raised:
        tries(SUBMIT).answer(httpx.Response(429, content=body, request=REQUEST))

    error = raised.value
    assert (error.code, error.quota, error.used, error.limit) == ("quota_exceeded", "queued_jobs", 2, 3)
