"""Turns a request into a submission, and the stored submission into an answer."""

from collections.abc import Sequence
from functools import partial
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
from headrace.api.schemas import Reference
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.jobs.submission.submission import JobSpec, SubmissionKey
from headrace.domain.jobs.submission.submitter import Render, SubmissionResult

IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key", min_length=1, max_length=128)]

_REPLAYED: Final = "Idempotency-Replayed"


class _JobId(Struct):
    id: UUID


async def submit_one(
    request: Request[Any, Any, Any],
    services: Services,
    owner_id: UUID,
    spec: JobSpec,
    key: SubmissionKey | None,
    *,
    is_shown: bool = True,
) -> Response[Any]:
    """Store one job, and answer with `accepted_one`."""
    result = await submit(
        request,
        services,
        owner_id,
        [spec],
        lambda jobs: msgspec.json.encode(JobView.accepted(jobs[0], owner_id)),
        key=key,
    )
    return accepted_one(result, is_shown=is_shown)


async def submit(
    request: Request[Any, Any, Any],
    services: Services,
    owner_id: UUID,
    specs: Sequence[JobSpec],
    render: Render,
    *,
    key: SubmissionKey | None,
    at: str = "$",
) -> SubmissionResult:
    """Store jobs, publish them and ring for them. An admin's submission is in the audit log before.

    *render* makes the body of the answer; *at* is where the jobs stand in the request.
    """
    await record_admin_submission(services.sessions, request)
    store = partial(
        services.submitter.submit,
        *(owner_id, specs, render),
        key=key,
        at=at,
        request_id=current_request_id(),
    )
    if services.tracing is None:
        result = await store()
    else:
        headers, pipelines = request.scope["headers"], [spec.pipeline for spec in specs]
        with services.tracing.submission(headers, pipelines) as traceparent:
            result = await store(traceparent=traceparent)
    services.publisher.publish(result.news)
    services.doorbell.ring(result.queues)
    return result


def accepted_one(result: SubmissionResult, *, is_shown: bool = True) -> Response[Any]:
    """Answer with the `Location` of the stored job, and with the job if *is_shown*."""
    # A replayed submission has no news: its id is only in the stored answer.
    new_ids = [news.job_id for news in result.news]
    (job_id,) = new_ids or (msgspec.json.decode(result.body, type=_JobId).id,)
    if not is_shown:
        result = msgspec.structs.replace(result, body=msgspec.json.encode(Reference(job_id)))
    return accepted(result, {"Location": f"/api/v1/jobs/{job_id}"})


def accepted(result: SubmissionResult, headers: dict[str, str]) -> Response[Any]:
    """Answer with the stored body, byte for byte, and *headers*."""
    if result.is_replayed:
        headers[_REPLAYED] = "true"
    return Response(
        result.body, status_code=HTTP_202_ACCEPTED, media_type="application/json", headers=headers
    )


async def build_key(
    request: Request[Any, Any, Any], name: str | None, call: str, owner_id: UUID
) -> SubmissionKey | None:
    """Return the key *name* with the request to *call* that it stands for; None when there is no key.

    Keys belong to *owner_id*, who owns the jobs. The same key from another caller stands for another request.
    """
    if name is None:
        return None
    caller: CurrentUser = request.scope["user"]
    if caller.id != owner_id:
        call = f"{call} by {caller.id}"
    # The handler has decoded the body, so it is JSON. A missing body means the same as an empty object.
    return SubmissionKey.of(name, call, await request.body())
