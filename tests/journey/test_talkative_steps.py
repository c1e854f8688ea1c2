"""Secrets that steps put into logs and errors are neither stored nor logged."""

import io
import sys
from pathlib import Path

import msgspec
import pytest

from headrace.adapters.database import StatementPool
from headrace.adapters.logs import configure_logging
from headrace.settings import Settings
from support.harness import serving, working

FLOWS = Path(__file__).parent / "flows" / "talkative_flows.py"
KEY = "hr_0123456789ab_" + "s3cret-" * 6 + "x"
STORED = (
    "SELECT coalesce(string_agg(body::text, ' '), '') AS text FROM job_events UNION ALL"
    " SELECT coalesce(string_agg(concat(error, progress_steps), ' '), '') FROM jobs UNION ALL"
    " SELECT coalesce(string_agg(concat(error), ' '), '') FROM step_runs"
)


async def test_logs_and_errors_of_steps_are_stored_and_sent_redacted(
    settings: Settings, database: StatementPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging("info", as_json=True)
    talkative = msgspec.structs.replace(settings, pipelines=(str(FLOWS),))

    try:
        async with serving(talkative) as service, working(talkative):
            jobs = [
                await service.submit(name, params={"secret": KEY})
                for name in ("talk_in_loop", "talk_in_process")
            ]
            watched = [await service.watch(job["id"]) for job in jobs]
            ended = [await service.job(job["id"]) for job in jobs]
    finally:
        monkeypatch.undo()
        configure_logging("info", as_json=False)

    redacted = "hr_0123456789ab_[redacted]"
    assert [job["error"]["message"] for job in ended] == [
        f"refused: {redacted}",
        f"ValueError: refused: {redacted}",
    ]
    received = [frame for frames in watched for frame in frames if frame["type"] != "hello"]
    logs = [frame for frame in received if frame["type"] == "log"]
    assert [(log["message"], log["fields"]["sent"]) for log in logs] == [
        (f"calling with {redacted}", [redacted])
    ] * 2
    assert logs[0]["fields"]["url"] == "https://u:[redacted]@h/?token=[redacted]"
    stored = " ".join(row["text"] for row in await database.fetch(STORED))
    assert redacted in stored
    assert KEY not in stored + str(received) + written.getvalue()
    assert "step_failed" in written.getvalue()
