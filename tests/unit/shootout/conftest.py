"""A shootout without a service: files in memory, outputs through JSON as the service stores them."""

import io
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from headrace import JobCancelledError, PermanentError, StepHandle
from headrace.pipelines.shootout import shootout
from headrace.pipelines.shootout.outputs import Shootout
from headrace.pipelines.shootout.params import ShootoutParams

RATE = 48_000
MAX_OUTPUT_BYTES = 256 * 1024


class MemoryContext:
    """A handwritten context of a step in a child process."""

    job_id, attempt = UUID(int=1), 1

    def __init__(self, studio: "Studio", params: ShootoutParams) -> None:
        self.studio, self.params, self.scratch = studio, params, studio.folder
        self.fractions: list[float] = []
        self.messages: list[str | None] = []
        self.logged: list[tuple[str, str, dict[str, Any]]] = []
        self.cancel_at = 2.0

    def output(self, step: StepHandle) -> Any:
        return self.studio.outputs[step.name]

    def progress(self, done: float, total: float, message: str | None = None) -> None:
        self.fractions.append(done / total)
        self.messages.append(message)

    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        self.logged.append((level, message, fields))

    def save_file(self, name: str, content: bytes | Path, media_type: str) -> UUID:
        assert Path(name).name == name
        self.studio.media_types[name] = media_type
        return self.studio.keep(name, content if isinstance(content, bytes) else content.read_bytes())

    def open_file(self, file_id: UUID | str) -> io.BytesIO:
        try:
            return io.BytesIO(self.studio.files[str(file_id)])
        except KeyError:
            raise PermanentError("no such file", code="file_not_found") from None

    def raise_if_cancelled(self) -> None:
        if self.fractions and self.fractions[-1] >= self.cancel_at:
            raise JobCancelledError


class Studio:
    """The files and outputs of one job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        self.media_types: dict[str, str] = {}
        self.outputs: dict[str, Any] = {}

    def keep(self, name: str, content: bytes) -> UUID:
        file_id = uuid4()
        self.files[str(file_id)] = content
        self.names[name] = str(file_id)
        return file_id

    def upload(self, content: bytes) -> str:
        return str(self.keep("upload", content))

    def upload_sound(
        self, samples: NDArray[np.float64], *, rate: int = RATE, subtype: str = "FLOAT", form: str = "WAV"
    ) -> str:
        content = io.BytesIO()
        soundfile.write(content, samples, rate, format=form, subtype=subtype)
        return self.upload(content.getvalue())

    def content(self, name: str) -> bytes:
        """Return the file that was saved as *name*."""
        return self.files[self.names[name]]

    def context(self, params: dict[str, Any]) -> MemoryContext:
        return MemoryContext(self, msgspec.convert(params, ShootoutParams))

    def run_step(self, name: str, params: dict[str, Any]) -> list[MemoryContext]:
        """Run one step, once per item, and keep its output for the next step. Return the contexts."""
        node = shootout.nodes[name]
        items = [None] if node.for_each is None else list(node.for_each(self.context(params).params))
        contexts, outputs = [], []
        for item in items:
            context = self.context(params)
            output = node.step(context) if node.for_each is None else node.step(context, item)
            encoded = msgspec.json.encode(output)
            assert len(encoded) <= MAX_OUTPUT_BYTES
            outputs.append(msgspec.json.decode(encoded, type=node.output_type))
            contexts.append(context)
        self.outputs[name] = outputs[0] if node.for_each is None else outputs
        return contexts

    def run(self, params: dict[str, Any]) -> Shootout:
        for name in shootout.nodes:
            self.run_step(name, params)
        result = self.outputs["compare"]
        assert isinstance(result, Shootout)
        return result


def strum(seconds: float = 1.2, *, rate: int = RATE, peak: float = 0.5) -> NDArray[np.float64]:
    """Return a decaying chord that is never digitally silent."""
    times = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * f * times + f) for f in (110.0, 164.8, 220.0, 277.2, 1_760.0))
    chord = np.asarray(tones) * np.exp(-1.5 * times)
    return np.asarray(chord * (peak / np.max(np.abs(chord))))


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


@pytest.fixture
def chord() -> NDArray[np.float64]:
    return strum()
