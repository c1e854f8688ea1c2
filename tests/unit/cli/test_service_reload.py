"""What `up --reload` says after files have changed."""

from pathlib import Path

import pytest

from headrace.cli.service import Service, ServiceSpec
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings


async def do_nothing(_service: Service) -> None: ...


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (None, []),
        (HeadraceError("the API is away"), ["reload: the API is away"]),
        (OSError("connection lost"), ["reload: what is served is not known: connection lost"]),
        (ValueError(), ["reload: what is served is not known: ValueError"]),
    ],
)
async def test_a_reload_whose_pipelines_cannot_be_read_says_so(
    error: Exception | None, line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    async def show_reloaded() -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(Service, "wait_until_ready", do_nothing)
    spec = ServiceSpec(
        settings=Settings(worker_port=0), host="127.0.0.1", port=8000, workers=1, data_dir=tmp_path
    )
    service = Service(spec, lambda source, text: lines.append(f"{source}: {text}"), show_reloaded)

    await service._await_reload()

    assert lines == line
