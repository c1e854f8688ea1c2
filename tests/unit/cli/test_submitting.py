"""What `submit` prints for a job that no worker serves."""

from typing import Any

import pytest
from click.testing import CliRunner

from headrace.cli import api_client
from headrace.cli.main import cli

JOB = "01a1fcda-1222-71e3-b3dd-702451ba443d"


class Accepting:
    """Replaces `ApiClient`: it accepts every job."""

    waiting_for: str | None

    def __init__(self, url: str, _token: str | None) -> None:
        self.url = url

    def submit(
        self, pipeline: str, params: dict[str, Any], key: str | None, **options: Any
    ) -> dict[str, Any]:
        sent = {"pipeline": pipeline, "params": params, "key": key, **options}
        return {"id": JOB, "waiting_for": Accepting.waiting_for, "sent": sent}


@pytest.mark.parametrize(
    ("waiting_for", "errors"),
    [
        ("no_worker", "no live worker serves ticks: the job waits until one does\n"),
        ("worker_busy", ""),
        (None, ""),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_job_without_a_worker_is_announced_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, waiting_for: str | None, errors: str, as_json: bool
) -> None:
    monkeypatch.setattr(api_client, "ApiClient", Accepting)
    Accepting.waiting_for = waiting_for

    result = CliRunner().invoke(cli, ["submit", "ticks", *(["--json"] if as_json else [])])

    assert (result.exit_code, result.stderr) == (0, errors)
    assert result.stdout.startswith('{"id":"01a1fcda' if as_json else f"{JOB}\n")
