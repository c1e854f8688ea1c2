"""A client of the REST API that counts its responses, and records those that no fault of the run explains."""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, Final, TypeVar

import httpx
from msgspec import Struct

from faults.mixed_sent import Calls

T = TypeVar("T")

_SHOWN_CHARS: Final = 300


class Action(Struct, frozen=True):
    """A kind of request, and the status of its success.

    *refusals* are the codes of permitted refusals, *gone* that of the refusal if its object was deleted.
    """

    method: str
    success: int
    gone: str = ""
    refusals: frozenset[str] = frozenset()


ACTIONS: Final = {
    "submit": Action("POST", 202),
    "submit with a key": Action("POST", 202),
    "submit a batch": Action("POST", 202),
    "run a preset": Action("POST", 202, "preset_not_found"),
    "repeat a submission": Action("POST", 202, "job_deleted"),
    "cancel": Action("POST", 202, "job_not_found", frozenset({"illegal_transition"})),
    "retry": Action("POST", 202, "job_not_found", frozenset({"illegal_transition"})),
    "delete": Action("DELETE", 204, "job_not_found", frozenset({"job_not_final"})),
    "patch": Action("PATCH", 200, "job_not_found"),
    "create a preset": Action("POST", 201),
    "delete a preset": Action("DELETE", 204, "preset_not_found"),
    "upload": Action("POST", 201),
    "download": Action("GET", 200, "file_not_found"),
    "delete an upload": Action("DELETE", 204, "file_not_found"),
}
"""The actions of the load by name."""


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

    async def call(self, action: str, path: str, **request: Any) -> httpx.Response | None:
        """Send a request; return None if its outcome is unknown: no answer, or 503 with `Retry-After`."""
        url = f"{self.random_source.choice(self._addresses)}/api/v1{path}"
        try:
            response = await self._http.request(ACTIONS[action].method, url, **request)
        except httpx.TransportError:
            self.statuses[action, "no answer"] += 1
            return None
        self.statuses[action, str(response.status_code)] += 1
        if response.status_code != 503:
            return response
        if not response.headers.get("Retry-After", "").isdigit():
            self.report(action, response, "has no Retry-After")
        return None

    def expect(self, action: str, response: httpx.Response, *, may_be_gone: bool = False) -> bool:
        """Return whether the action succeeded, and record a refusal that is not permitted."""
        permitted = ACTIONS[action]
        if response.status_code == permitted.success:
            return True
        codes = permitted.refusals | ({permitted.gone} if may_be_gone else set())
        if response.json().get("code") not in codes:
            self.report(action, response, "is not expected")
        return False

    async def change(self, action: str, path: str, calls: Calls, deletes: Calls) -> bool:
        """Send a call that *calls* counts, and return whether it was acknowledged.

        Its object may be gone if another call has deleted it, as *deletes* tell.
        """
        calls.sent += 1
        response = await self.call(action, path)
        may_be_gone = deletes.sent > (1 if calls is deletes else 0)
        if response is None or not self.expect(action, response, may_be_gone=may_be_gone):
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
        for action in ACTIONS:
            counts = sorted(
                (status, count) for (name, status), count in self.statuses.items() if name == action
            )
            lines.append(f"{action:20}" + "".join(f"{status:>10} {count:5}" for status, count in counts))
        return "\n".join(lines)

    def missing_successes(self) -> list[str]:
        """Return the actions that have never succeeded."""
        return [name for name, action in ACTIONS.items() if not self.statuses[name, str(action.success)]]
