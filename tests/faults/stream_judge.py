"""What clients were told of a job, held against its log: what is missing, displaced, wrong or late. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct, field

# A lost last event is looked for every 5 s; the rest is room for a machine that is busy.
LATE_SECONDS: Final = 5.0 + 10.0
UNSAID: Final = "unsaid"
"""How a job ended, where the transport says no more than that it has."""

KINDS: Final = (
    "gap",
    "duplicate",
    "reordering",
    "wrong body",
    "missing end",
    "wrong end",
    "late end",
    "oddity",
)


class Stay(Struct):
    """One connection: the numbers and bodies that came over it, and the state that it ended with.

    Moments are in seconds since 1970; without *opened_at* nobody answered. *pause_seconds* is what a
    `bye` asked for.
    """

    after: int
    events: list[tuple[int, bytes]] = field(default_factory=list)
    opened_at: float | None = None
    over_at: float = 0.0
    end: str | None = None
    pause_seconds: float | None = None
    address: str = ""

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None and not self.over_at

    def waited(self, finished_at: float) -> float:
        """How long it was there after the job had ended."""
        return 0.0 if self.opened_at is None else self.over_at - max(self.opened_at, finished_at)


class Told(Struct):
    """All that one client was told of a job, connection by connection.

    *left* counts the connections that the client gave up itself, *oddities* are what no server should do.
    """

    job_id: str
    transport: str
    stays: list[Stay] = field(default_factory=list)
    left: int = 0
    oddities: list[str] = field(default_factory=list)

    @property
    def newest(self) -> int:
        """Where the client goes on."""
        return max((seq for stay in self.stays for seq, _ in stay.events), default=0)

    @property
    def opened(self) -> list[Stay]:
        return [stay for stay in self.stays if stay.opened_at is not None]

    @property
    def cut(self) -> int:
        """How many connections the server ended before the job's end, with a `bye` or without."""
        return sum(stay.end is None for stay in self.opened) - self.left

    @property
    def byes(self) -> int:
        return sum(stay.pause_seconds is not None for stay in self.stays)

    @property
    def end(self) -> str | None:
        return self.stays[-1].end if self.stays else None


class History(Struct):
    """The log of a job that has ended: the bodies, from number 1 on."""

    events: list[bytes]
    state: str
    finished_at: float


class Finding(Struct, frozen=True):
    """One broken promise to one client; *kind* is one of `KINDS`."""

    kind: str
    said: str


def judge(clients: Iterable[Told], histories: Mapping[str, History]) -> list[Finding]:
    """Every broken promise, as a sentence that names job and transport."""
    found = []
    for told in clients:
        for kind, said in _broken(told, histories[told.job_id]):
            found.append(Finding(kind, f"{told.job_id} over {told.transport}: {kind}: {said}"))
    return found


def table(clients: Sequence[Told], histories: Mapping[str, History], found: Sequence[Finding]) -> str:
    """Who watched, how often they came back, and what was found."""
    jobs = len({told.job_id for told in clients})
    lines = [f"{jobs} jobs", f"{'':10}clients  events  reconnects   left    cut   byes  latest end"]
    for transport in sorted({told.transport for told in clients}):
        of_it = [told for told in clients if told.transport == transport]
        stays = [stay for told in of_it for stay in told.opened]
        events = sum(len(stay.events) for stay in stays)
        left, cut = sum(told.left for told in of_it), sum(told.cut for told in of_it)
        byes = sum(told.byes for told in of_it)
        waits = [stay.waited(histories[told.job_id].finished_at) for told in of_it for stay in told.opened]
        lines.append(
            f"{transport:10}{len(of_it):7}{events:8}{len(stays) - len(of_it):12}{left:7}{cut:7}{byes:7}"
            f"{max(waits, default=0.0):10.1f} s"
        )
    counts = Counter(finding.kind for finding in found)
    return "\n".join([*lines, ", ".join(f"{kind}: {counts[kind]}" for kind in KINDS)])


def _broken(told: Told, history: History) -> Iterator[tuple[str, str]]:
    yield from (("oddity", said) for said in told.oddities)
    yield from _misplaced(told)
    head = len(history.events)
    seen = {seq for stay in told.stays for seq, _ in stay.events}
    due = head if told.end is not None else told.newest
    if missing := sorted(set(range(1, due + 1)) - seen):
        yield "gap", f"events {missing} of {head} never came"
    for stay in told.stays:
        for seq, body in stay.events:
            if not 0 < seq <= head or history.events[seq - 1] != body:
                yield "wrong body", f"event {seq} is {body!r}"
        if (waited := stay.waited(history.finished_at)) > LATE_SECONDS:
            yield "late end", f"{waited:.1f} s after the job had ended and the connection was there"
    if told.end is None:
        yield "missing end", f"told up to event {told.newest} of {head}, over {len(told.stays)} connections"
    elif told.end not in (history.state, UNSAID):
        yield "wrong end", f"{told.end}, the job is {history.state}"


def _misplaced(told: Told) -> Iterator[tuple[str, str]]:
    """What comes although the client has it, or after what follows it."""
    seen: set[int] = set()
    newest = 0
    for stay in told.stays:
        for seq, _ in stay.events:
            if seq in seen:
                yield "duplicate", f"event {seq} came again, after {stay.after} was asked for"
            elif seq < newest:
                yield "reordering", f"event {seq} came after event {newest}"
            seen.add(seq)
            newest = max(newest, seq)
