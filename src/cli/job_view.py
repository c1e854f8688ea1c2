"""What is known of a watched job, folded from its frames. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from headrace.cli.text import plain, size_of

Kind = Literal["log", "file", "note", "trouble"]

_WAITING, _RUNNING, _SUCCEEDED, _FAILED = "waiting", "running", "succeeded", "failed"
# As the service does with their progress.
_MOST_ITEMS: Final = 100
_FINAL: Final = {"job.succeeded": "succeeded", "job.failed": "failed", "job.cancelled": "cancelled"}
_REASONS: Final = {
    "handed_back": "a stopping worker handed the job back; the next one goes on with it",
    "worker_lost": "the job is queued again",
}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line for the reader; *at* as the event has it."""

    kind: Kind
    text: str
    at: str = ""
    level: str = "info"


@dataclass(slots=True)
class StepLine:
    """One bar. *key* is `name` or, for one item of a `for_each`, `name[index]`."""

    key: str
    state: str = _WAITING
    fraction: float = 0.0
    message: str = ""
    took_ms: int | None = None


@dataclass(slots=True)
class JobViewModel:
    """A job as its frames tell it."""

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
    steps: dict[str, StepLine] = field(default_factory=dict)
    summed: set[str] = field(default_factory=set)
    """The `for_each` steps that have one bar for all items, as the service counts them."""

    def expect(self, names: Iterable[str]) -> None:
        """Show these steps as waiting until they are heard of."""
        for name in names:
            self.steps.setdefault(name, StepLine(name))

    def recall(self, runs: Iterable[dict[str, Any]]) -> None:
        """Take the steps as the API lists them: what came before the first event that is watched."""
        for run in runs:
            step = self._step(run["name"], run["index"])
            states = {"succeeded": _SUCCEEDED, "failed": _FAILED, "running": _RUNNING}
            step.state = states.get(run["state"], _WAITING)
            step.fraction = float(run["progress"])

    def apply(self, frame: dict[str, Any]) -> list[LogLine]:
        """Take one frame; returns what is to be said about it."""
        match frame.get("type"):
            case "hello":
                self._greet(frame["job"])
            case "progress":
                self._advance(frame)
            case "end":
                self.end = self.state = frame["state"]
                self.eta = None
                self.fraction = 1.0 if self.end == "succeeded" else self.fraction
            case "log":
                where = f"{frame['step']}: " if frame.get("step") else ""
                fields = "".join(f" {name}={value}" for name, value in (frame.get("fields") or {}).items())
                return [self._say("log", f"{where}{frame['message']}{fields}", frame, frame["level"])]
            case "file.created":
                file = frame["file"]
                return [self._say("file", f"{file['name']} ({size_of(file['size'])})", frame)]
            case str(kind) if kind.startswith("step."):
                return self._apply_step(kind, frame)
            case str(kind) if kind.startswith(("job.", "attempt.")):
                return self._apply_job(kind, frame)
        return []

    def _greet(self, job: dict[str, Any]) -> None:
        self.pipeline, self.state, self.attempt = job["pipeline"], job["state"], job["attempt"]
        self.waiting_for, self.result, self.error = job["waiting_for"], job["result"], job["error"]
        self.fraction = job["progress"]

    def _advance(self, frame: dict[str, Any]) -> None:
        self.fraction = frame["fraction"]
        eta = frame.get("eta")
        self.eta = (float(eta["low_seconds"]), float(eta["high_seconds"])) if eta else None
        for key, told in frame["steps"].items():
            if key not in self.summed and any(place.startswith(f"{key}[") for place in self.steps):
                self._sum(key)
            step = self._of_key(key)
            total = told["total"]
            if key in self.summed and total and told["done"] >= total:
                step.state, step.fraction = _SUCCEEDED, 1.0
            if step.state != _SUCCEEDED:
                step.state = _RUNNING
                step.fraction = min(max(told["done"] / total, 0.0), 1.0) if total else 0.0
            step.message = plain(told.get("message") or "")

    def _apply_step(self, kind: str, frame: dict[str, Any]) -> list[LogLine]:
        step = self._step(frame["step"], frame["index"])
        if kind == "step.started":
            step.state, step.fraction, step.message = _RUNNING, 0.0, ""
        elif kind == "step.succeeded":
            step.state, step.fraction, step.took_ms = _SUCCEEDED, 1.0, frame["took_ms"]
        elif kind == "step.failed":
            error = frame["error"]
            again = frame.get("retry_at")
            step.state, step.message = (_WAITING if again else _FAILED), plain(error["message"])
            text = f"{step.key} failed: {error['message']} ({error['code']})"
            return [self._say("trouble", text + ("; it is tried again" if again else ""), frame)]
        return []

    def _apply_job(self, kind: str, frame: dict[str, Any]) -> list[LogLine]:
        if kind in _FINAL:
            self.state = _FINAL[kind]
            self.result, self.error = frame.get("result"), frame.get("error")
            return []
        if kind == "job.started":
            self.state, self.attempt = "running", frame["attempt"]
        elif kind in ("job.requeued", "job.retried"):
            self.state, self.error, self.end = "queued", None, None
            self._put_back()
        text = _about_job(kind, frame)
        if text is None:
            return []
        return [self._say("trouble" if kind == "attempt.lost" else "note", text, frame)]

    def _put_back(self) -> None:
        self.eta = None
        for step in self.steps.values():
            if step.state in (_RUNNING, _FAILED):
                step.state, step.fraction = _WAITING, 0.0

    def _say(self, kind: Kind, text: str, frame: dict[str, Any], level: str = "info") -> LogLine:
        return LogLine(kind, plain(text), str(frame.get("at", "")), level)

    def _step(self, name: str, index: int | None) -> StepLine:
        return self._of_key(name if index is None else f"{name}[{index}]")

    def _of_key(self, key: str) -> StepLine:
        name, bracket, _ = key.partition("[")
        if bracket and name in self.summed:
            return StepLine(key)  # told of, not shown
        if key not in self.steps:
            self._insert(key)
        return self.steps.get(key) or StepLine(key)

    def _sum(self, name: str) -> None:
        """From now on one bar stands for all items of the step."""
        self.summed.add(name)
        self._replace(name, [name])

    def _insert(self, key: str) -> None:
        """Put an item's bar where its `for_each` step was expected, in the order of the items."""
        name, bracket, _ = key.partition("[")
        if not bracket:
            self.steps[key] = StepLine(key)
            return
        places = list(self.steps)
        mine = [place for place in places if place.partition("[")[0] == name]
        items = sorted({*(place for place in mine if "[" in place), key}, key=_index)
        if len(items) > _MOST_ITEMS:
            self._sum(name)
        else:
            self._replace(name, items)

    def _replace(self, name: str, lines: list[str]) -> None:
        """Put *lines* where those of the step are."""
        places = list(self.steps)
        mine = {place for place in places if place.partition("[")[0] == name}
        at = next((number for number, place in enumerate(places) if place in mine), len(places))
        ordered = [*places[:at], *lines, *(place for place in places[at:] if place not in mine)]
        self.steps = {place: self.steps.get(place) or StepLine(place) for place in ordered}


def _about_job(kind: str, frame: dict[str, Any]) -> str | None:
    match kind:
        case "job.started" if frame["attempt"] > 1:
            return f"attempt {frame['attempt']} begins on {frame['worker']}"
        case "attempt.lost":
            return f"attempt {frame['attempt']} was lost: its worker vanished"
        case "job.cancel_requested":
            return "asked to stop"
        case "job.retried":
            return "queued again by hand"
        case "job.requeued":
            return _REASONS.get(frame["reason"])
        case _:
            return None


def _index(key: str) -> int:
    return int(key.partition("[")[2].rstrip("]"))
