"""How a request becomes a submission: the caller's key for it, and the answer."""

from collections.abc import Sequence
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.params import HeaderParameter
from litestar.status_codes import HTTP_202_ACCEPTED
from msgspec import Struct

from headrace.api.auth.audit import record_admin_submission
from headrace.api.dependencies import Services
from headrace.api.jobs.schemas import JobView
from headrace.api.request_ids import current_request_id
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.jobs.submission.submission import JobSpec, Key
from headrace.domain.jobs.submission.submitter import Render, SubmissionResult

IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key", min_length=1, max_length=128)]

_REPLAYED: Final = "Idempotency-Replayed"


class _Identified(Struct):
    id: UUID


async def submit_one(
    request: Request[Any, Any, Any], services: Services, owner_id: UUID, order: JobSpec, key: Key | None
) -> Response[JobView]:
    """Store one job, and answer with it and its place."""
    answer = await submit(
        request,
        services,
        owner_id,
        [order],
        lambda jobs: msgspec.json.encode(JobView.accepted(jobs[0], owner_id)),
        key=key,
    )
    told = [news.job_id for news in answer.news]
    (job_id,) = told or (msgspec.json.decode(answer.body, type=_Identified).id,)
    return accepted(answer, {"Location": f"/api/v1/jobs/{job_id}"})


async def submit(
    request: Request[Any, Any, Any],
    services: Services,
    owner_id: UUID,
    orders: Sequence[JobSpec],
    render: Render,
    *,
    key: Key | None,
    at: str = "$",
) -> SubmissionResult:
    """Store jobs, tell of them and ring for them; what an admin submits is in the audit log before."""
    await record_admin_submission(services.sessions, request)
    answer = await services.submitter.submit(
        owner_id, orders, render, key=key, at=at, request_id=current_request_id()
    )
    services.publisher.publish(answer.news)
    services.doorbell.ring(answer.queues)
    return answer


def accepted(answer: SubmissionResult, headers: dict[str, str]) -> Response[Any]:
    """The answer, byte for byte as it is stored."""
    if answer.is_replayed:
        headers[_REPLAYED] = "true"
    return Response(
        answer.body, status_code=HTTP_202_ACCEPTED, media_type="application/json", headers=headers
    )


async def key_of(request: Request[Any, Any, Any], name: str | None, call: str, owner_id: UUID) -> Key | None:
    """The caller's key for its request to *call*; None where it gives none.

    Keys are kept by *owner_id*, whose jobs are made: what somebody else asks with a key is another request.
    """
    if name is None:
        return None
    caller: CurrentUser = request.scope["user"]
    if caller.id != owner_id:
        call = f"{call} by {caller.id}"
    # Decoded already, so it is JSON; no body is one that says nothing.
    body = (await request.body()).decode() or "{}"
    return Key(name, f'{{"call":"{call}","body":{body}}}')
