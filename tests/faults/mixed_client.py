"""A client of the REST API that counts its responses, and records those that no fault of the run explains."""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, Final, TypeVar

import httpx

from faults.mixed_sent import Calls

T = TypeVar("T")

_SHOWN_CHARS: Final = 300

SUCCESSES: Final = {
    "submit": 202,
    "submit with a key": 202,
    "submit a batch": 202,
    "run a preset": 202,
    "repeat a submission": 202,
    "cancel": 202,
    "retry": 202,
    "delete": 204,
    "patch": 200,
    "create a preset": 201,
    "delete a preset": 204,
    "upload": 201,
    "download": 200,
    "delete an upload": 204,
}
"""The actions of the load, each with the status of its success."""


class MixedClient:
    """Sends each request to one of *addresses*.

    `statuses` counts the responses by action; `oddities` are sentences about wrong ones.
    """

    def __init__(self, addresses: Sequence[str], http: httpx.AsyncClient, random_source: Random) -> None:
        self._addresses = addresses
        self._http = http
        self.random_source = random_source
        self.statuses = Counter[tuple[str, str]]()
        self.oddities: list[str] = []

    async def call(self, action: str, method: str, path: str, **request: Any) -> httpx.Response | None:
        """Send a request; return None if its outcome is unknown: no answer, or 503 with `Retry-After`."""
        url = f"{self.random_source.choice(self._addresses)}/api/v1{path}"
        try:
            response = await self._http.request(method, url, **request)
        except httpx.TransportError:
            self.statuses[action, "no answer"] += 1
            return None
        self.statuses[action, str(response.status_code)] += 1
        if response.status_code != 503:
            return response
        if not response.headers.get("Retry-After", "").isdigit():
            self.report(action, response, "has no Retry-After")
        return None

    def expect(self, action: str, response: httpx.Response, refusals: dict[int, str]) -> bool:
        """Return whether the action succeeded. *refusals*: the permitted other statuses and their codes."""
        if response.status_code == SUCCESSES[action]:
            return True
        code = refusals.get(response.status_code)
        if code is None or response.json()["code"] != code:
            self.report(action, response, "is not expected")
        return False

    async def change(
        self, action: str, method: str, path: str, calls: Calls, refusals: dict[int, str], deletes: Calls
    ) -> bool:
        """Send a call that *calls* counts, and return whether it was acknowledged.

        404 is permitted only if the object may have been deleted, as *deletes* tell.
        """
        calls.sent += 1
        response = await self.call(action, method, path)
        may_be_gone = deletes.sent > (1 if calls is deletes else 0)
        if response is None or not self.expect(
            action,
            response,
            {status: code for status, code in refusals.items() if status != 404 or may_be_gone},
        ):
            return False
        calls.acknowledged += 1
        return True

    def pick(self, candidates: Sequence[T]) -> T | None:
        """Return one of *candidates*; None if there is none."""
        return self.random_source.choice(candidates) if candidates else None

    def report(self, action: str, response: httpx.Response, problem: str) -> None:
        """Record a response that is wrong."""
        shown = response.text[:_SHOWN_CHARS]
        self.oddities.append(f"{action}: status {response.status_code} {problem}: {shown}")

    def table(self) -> str:
        """Return a table of the responses by action."""
        lines = []
        for action in SUCCESSES:
            counts = sorted(
                (status, count) for (name, status), count in self.statuses.items() if name == action
            )
            lines.append(f"{action:20}" + "".join(f"{status:>10} {count:5}" for status, count in counts))
        return "\n".join(lines)

    def missing_successes(self) -> list[str]:
        """Return the actions that have never succeeded."""
        return [action for action, status in SUCCESSES.items() if not self.statuses[action, str(status)]]
