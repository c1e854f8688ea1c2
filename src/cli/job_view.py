"""The state of a watched job, built from its frames. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from headrace.cli.step_lines import FAILED, RUNNING, SUCCEEDED, WAITING, StepLine, StepLines, step_key
from headrace.cli.text import format_size, one_line

Kind = Literal["log", "file", "note", "trouble"]

_FINAL: Final = {"job.succeeded": "succeeded", "job.failed": "failed", "job.cancelled": "cancelled"}
_STEP_STATES: Final = {"succeeded": SUCCEEDED, "failed": FAILED, "running": RUNNING}
_REQUEUE_REASONS: Final = {
    "handed_back": "a stopping worker has handed the job back; the next worker continues it",
    "worker_lost": "the job is queued again",
}

_WAITING: Final = {
    "run_at": "its start time has not come",
    "backoff": "it waits for its next attempt",
    "process_slots_busy": "all process slots of its workers are busy",
    "quarantined": "it has ended workers, and waits for a process of its own",
    "worker_busy": "all workers that serve it are full",
    "no_worker": "no live worker serves it; start one with: headrace worker",
}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line for the user. *at* is the time of its event, in the API's form."""

    kind: Kind
    text: str
    at: str = ""
    level: str = "info"


@dataclass(slots=True)
class JobViewModel:
    """A watched job: its state, progress, steps and outcome, as of the newest frame."""

    job_id: str
    pipeline: str = ""
    state: str = "queued"
    fraction: float = 0.0
    eta: tuple[float, float] | None = None
    attempt: int = 0
    waiting_for: str | None = None
    result: Any = None
    error: dict[str, Any] | None = None
    end: str | None = None
    _steps: StepLines = field(default_factory=StepLines)

    @property
    def steps(self) -> dict[str, StepLine]:
        """The bars by step key, in the order in which they are shown."""
        return self._steps.lines

    @property
    def waiting_text(self) -> str | None:
        """Why the job waits, for people; None if it does not."""
        if self.state != "queued":
            return None
        return f"queued: {_WAITING.get(self.waiting_for, self.waiting_for)}" if self.waiting_for else "queued"

    def add_steps(self, names: Iterable[str]) -> None:
        """Show the steps of the pipeline as waiting, before their first events."""
        self._steps.add(names)

    def load_step_runs(self, runs: Iterable[dict[str, Any]]) -> None:
        """Set the steps as the API lists them, for a watch that does not start with the first event."""
        for run in runs:
            step = self._steps.get(step_key(run["name"], run["index"]))
            step.state = _STEP_STATES.get(run["state"], WAITING)
            step.fraction = float(run["progress"])

    def apply(self, frame: dict[str, Any]) -> list[LogLine]:
        """Apply one frame and return the lines to print. Unknown frames change nothing."""
        match frame.get("type"):
            case "hello":
                self._apply_hello(frame["job"])
            case "progress":
                self._apply_progress(frame)
            case "end":
                self.end = self.state = frame["state"]
                self.eta = None
                self.fraction = 1.0 if self.end == "succeeded" else self.fraction
            case "log":
                prefix = f"{frame['step']}: " if frame.get("step") else ""
                fields = "".join(f" {name}={value}" for name, value in (frame.get("fields") or {}).items())
                return [_line("log", f"{prefix}{frame['message']}{fields}", frame, frame["level"])]
            case "file.created":
                file = frame["file"]
                return [_line("file", f"{file['name']} ({format_size(file['size'])})", frame)]
            case str(kind) if kind.startswith("step."):
                return self._apply_step(kind, frame)
            case str(kind) if kind.startswith(("job.", "attempt.")):
                return self._apply_job(kind, frame)
        return []

    def _apply_hello(self, job: dict[str, Any]) -> None:
        self.pipeline, self.state, self.attempt = job["pipeline"], job["state"], job["attempt"]
        self.waiting_for, self.result, self.error = job["waiting_for"], job["result"], job["error"]
        self.fraction = job["progress"]

    def _apply_progress(self, frame: dict[str, Any]) -> None:
        self.fraction = frame["fraction"]
        eta = frame.get("eta")
        self.eta = (float(eta["low_seconds"]), float(eta["high_seconds"])) if eta else None
        for key, progress in frame["steps"].items():
            if key not in self._steps.summed and self._steps.has_items(key):
                self._steps.sum(key)
            step = self._steps.get(key)
            done, total = progress["done"], progress["total"]
            if key in self._steps.summed and total and done >= total:
                step.state, step.fraction = SUCCEEDED, 1.0
            if step.state != SUCCEEDED:
                step.state = RUNNING
                step.fraction = min(max(done / total, 0.0), 1.0) if total else 0.0
            step.message = one_line(progress.get("message") or "")

    def _apply_step(self, kind: str, frame: dict[str, Any]) -> list[LogLine]:
        step = self._steps.get(step_key(frame["step"], frame["index"]))
        if kind == "step.started":
            step.state, step.fraction, step.message = RUNNING, 0.0, ""
        elif kind == "step.succeeded":
            step.state, step.fraction, step.took_ms = SUCCEEDED, 1.0, frame["took_ms"]
        elif kind == "step.failed":
            error = frame["error"]
            has_retry = bool(frame.get("retry_at"))
            step.state, step.message = (WAITING if has_retry else FAILED), one_line(error["message"])
            text = f"{step.key} failed: {error['message']} ({error['code']})"
            return [_line("trouble", text + ("; it is retried" if has_retry else ""), frame)]
        return []

    def _apply_job(self, kind: str, frame: dict[str, Any]) -> list[LogLine]:
        if kind in _FINAL:
            self.state = _FINAL[kind]
            self.result, self.error = frame.get("result"), frame.get("error")
            if frame.get("result_omitted"):
                self.result = f"larger than 64 KiB; see: headrace show {self.job_id}"
            return []
        if kind == "job.started":
            self.state, self.attempt = "running", frame["attempt"]
        elif kind in ("job.requeued", "job.retried"):
            self.state, self.error, self.end, self.eta = "queued", None, None, None
            self.waiting_for = "backoff" if frame.get("reason") == "retry" else None
            self._steps.reset_unfinished()
        text = _describe(kind, frame)
        if text is None:
            return []
        return [_line("trouble" if kind == "attempt.lost" else "note", text, frame)]


def _line(kind: Kind, text: str, frame: dict[str, Any], level: str = "info") -> LogLine:
    return LogLine(kind, one_line(text), str(frame.get("at", "")), level)


def _describe(kind: str, frame: dict[str, Any]) -> str | None:
    """Return the line for an event of the job; None for an event that needs no line."""
    match kind:
        case "job.started" if frame["attempt"] > 1:
            return f"attempt {frame['attempt']} starts on {frame['worker']}"
        case "attempt.lost":
            return f"attempt {frame['attempt']} was lost: its worker vanished"
        case "job.cancel_requested":
            return "cancel requested"
        case "job.retried":
            return "queued again by a user"
        case "job.requeued":
            return _REQUEUE_REASONS.get(frame["reason"])
        case _:
            return None
