"""Brings a running job up to date with its stream: the stored progress is some seconds old."""

import asyncio
import contextlib
from typing import Any, Final

import headrace_client
from headrace.cli.api_client import ApiClient
from headrace.cli.step_lines import step_key
from headrace_client import Hello, ProgressFrame

_CONNECT_SECONDS: Final = 3.0
# A worker sends progress every 100 ms once somebody listens.
_WAIT_SECONDS: Final = 0.5


def update_progress(api: ApiClient, job: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    """Replace the progress of *job* and its *steps* by that of the newest frame, if one comes soon."""
    frame = asyncio.run(_newest_frame(api, job["id"], job["event_seq"]))
    if frame is None or frame.attempt != job["attempt"]:
        return
    job["progress"] = max(job["progress"], frame.fraction)
    for step in steps:
        progress = frame.steps.get(step_key(step["name"], step["index"]))
        if progress is not None and progress.total > 0 and step["state"] == "running":
            step["progress"] = min(max(progress.done / progress.total, 0.0), 1.0)
            step["message"] = progress.message


async def _newest_frame(api: ApiClient, job_id: str, head: int) -> ProgressFrame | None:
    """Return the newest progress frame: the first one is as old as what is stored, the second is live."""
    frames: list[ProgressFrame] = []
    # The job was already shown by the API, so that without a stream it is only older.
    with contextlib.suppress(headrace_client.HeadraceClientError, TimeoutError):
        async with asyncio.timeout(_CONNECT_SECONDS) as limit, api.open_async() as client:
            async with client.watch(job_id, head, patience=0) as watch:
                async for frame in watch:
                    if isinstance(frame, Hello):
                        limit.reschedule(asyncio.get_running_loop().time() + _WAIT_SECONDS)
                    if isinstance(frame, ProgressFrame):
                        frames.append(frame)
                    if len(frames) == 2:
                        break
    return frames[-1] if frames else None
