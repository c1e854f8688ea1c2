"""The jobs that `headrace demo` can run."""

from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.cli.typed_command import typed_command
from headrace.domain.errors import HeadraceError
from headrace.domain.pipelines.bundled import missing_libraries

_ASSETS: Final = Path(__file__).parents[1] / "pipelines" / "shootout" / "assets"
_TICKS: Final = {"count": 30, "interval_ms": 100, "steps": 3}


class DemoError(HeadraceError):
    """The demo cannot run, or its job did not succeed."""


class DemoJob(Struct, frozen=True):
    """The job of a demo. *track*: the file that is uploaded first and named by the parameter `di`."""

    title: str
    pipeline: str
    params: dict[str, Any]
    track: Path | None = None


def choose_job(*, is_small: bool) -> DemoJob:
    """Return the job to run: a shootout, or with *is_small* one that needs no further library.

    Raises:
        DemoError: the libraries of the shootout are missing.
    """
    if is_small:
        return DemoJob("One job that counts, in three parallel steps", "ticks", _TICKS)
    if missing := missing_libraries("shootout"):
        raise DemoError(
            f"this demo needs {', '.join(missing)}: pip install 'headrace[shootout]'; without them, run:"
            f" {typed_command()} demo --small"
        )
    params = msgspec.json.decode((_ASSETS / "demo.json").read_bytes(), type=dict[str, Any])
    title = "One guitar track through four signal chains, made equally loud"
    return DemoJob(title, "shootout", params, _ASSETS / "riff.wav")
