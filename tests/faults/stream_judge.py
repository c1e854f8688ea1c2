"""Compares the frames that clients received with the job's log, and reports every difference. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from support.patience import STALL_SECONDS

# The service looks for a lost last event every 5 s.
LATE_SECONDS: Final = 5.0 + STALL_SECONDS
UNKNOWN_STATE: Final = "unsaid"
"""The end state on a transport that reports the end but no state."""

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


class ClientConnection(Struct):
    """One connection: the numbers and bodies of its events, and the job state that it ended with.

    Times are in seconds since 1970; *opened_at* is None if no server answered. *pause_seconds* comes from a
    `bye`. *is_abandoned* says that the client gave the connection up itself.
    """

    after: int
    events: list[tuple[int, bytes]] = field(default_factory=list)
    opened_at: float | None = None
    closed_at: float = 0.0
    end: str | None = None
    pause_seconds: float | None = None
    address: str = ""
    is_abandoned: bool = False

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None and not self.closed_at

    @property
    def is_cut(self) -> bool:
        """Whether the server ended the connection before the job's end, without a `bye`."""
        is_closed = self.opened_at is not None and self.closed_at > 0
        return is_closed and self.end is None and self.pause_seconds is None and not self.is_abandoned

    def seconds_after_end(self, finished_at: float) -> float:
        """Return how long the connection was open after the job had ended."""
        return 0.0 if self.opened_at is None else self.closed_at - max(self.opened_at, finished_at)


class ClientRecord(Struct):
    """All frames that one client received of a job, connection by connection.

    *oddities* describe wrong behaviour of the server.
    """

    job_id: str
    transport: str
    connections: list[ClientConnection] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)

    @property
    def last_seq(self) -> int:
        """The number after which the client resumes."""
        return max((seq for connection in self.connections for seq, _ in connection.events), default=0)

    @property
    def opened(self) -> list[ClientConnection]:
        return [connection for connection in self.connections if connection.opened_at is not None]

    @property
    def abandoned(self) -> int:
        return sum(connection.is_abandoned for connection in self.connections)

    @property
    def cut(self) -> int:
        return sum(connection.is_cut for connection in self.connections)

    @property
    def byes(self) -> int:
        return sum(connection.pause_seconds is not None for connection in self.connections)

    @property
    def end(self) -> str | None:
        return self.connections[-1].end if self.connections else None


class History(Struct):
    """The log of a finished job: the bodies of its events, from number 1 on."""

    events: list[bytes]
    state: str
    finished_at: float


class Finding(Struct, frozen=True):
    """One fault in the stream of one client; *kind* is one of `KINDS`."""

    kind: str
    text: str


def judge(clients: Iterable[ClientRecord], histories: Mapping[str, History]) -> list[Finding]:
    """Return every fault, as a sentence that names job and transport."""
    findings = []
    for record in clients:
        for kind, text in _find_faults(record, histories[record.job_id]):
            findings.append(Finding(kind, f"{record.job_id} over {record.transport}: {kind}: {text}"))
    return findings


def table(
    clients: Sequence[ClientRecord], histories: Mapping[str, History], findings: Sequence[Finding]
) -> str:
    """Return a table of clients, reconnects and findings for each transport."""
    jobs = len({record.job_id for record in clients})
    lines = [f"{jobs} jobs", f"{'':10}clients  events  reconnects   left    cut   byes  latest end"]
    for transport in sorted({record.transport for record in clients}):
        records = [record for record in clients if record.transport == transport]
        connections = [connection for record in records for connection in record.opened]
        events = sum(len(connection.events) for connection in connections)
        abandoned, cut = sum(record.abandoned for record in records), sum(record.cut for record in records)
        byes = sum(record.byes for record in records)
        reconnects = len(connections) - len(records)
        waits = [
            connection.seconds_after_end(histories[record.job_id].finished_at)
            for record in records
            for connection in record.opened
        ]
        lines.append(
            f"{transport:10}{len(records):7}{events:8}{reconnects:12}{abandoned:7}{cut:7}{byes:7}"
            f"{max(waits, default=0.0):10.1f} s"
        )
    counts = Counter(finding.kind for finding in findings)
    return "\n".join([*lines, ", ".join(f"{kind}: {counts[kind]}" for kind in KINDS)])


def _find_faults(record: ClientRecord, history: History) -> Iterator[tuple[str, str]]:
    yield from (("oddity", text) for text in record.oddities)
    yield from _find_misplaced(record)
    head = len(history.events)
    seen = {seq for connection in record.connections for seq, _ in connection.events}
    due = head if record.end is not None else record.last_seq
    if missing := sorted(set(range(1, due + 1)) - seen):
        yield "gap", f"events {missing} of {head} never came"
    for connection in record.connections:
        for seq, body in connection.events:
            if not 0 < seq <= head or history.events[seq - 1] != body:
                yield "wrong body", f"event {seq} is {body!r}"
        if (lateness := connection.seconds_after_end(history.finished_at)) > LATE_SECONDS:
            yield (
                "late end",
                f"{lateness:.1f} s after the job had ended and the connection was there",
            )
    if record.end is None:
        yield (
            "missing end",
            f"received events up to {record.last_seq} of {head}, over {len(record.connections)} connections",
        )
    elif record.end not in (history.state, UNKNOWN_STATE):
        yield "wrong end", f"{record.end}, the job is {history.state}"


def _find_misplaced(record: ClientRecord) -> Iterator[tuple[str, str]]:
    """Find events that the client already has, and events after a later event."""
    seen: set[int] = set()
    last_seq = 0
    for connection in record.connections:
        for seq, _ in connection.events:
            if seq in seen:
                yield "duplicate", f"event {seq} came again on a connection after event {connection.after}"
            elif seq < last_seq:
                yield "reordering", f"event {seq} came after event {last_seq}"
            seen.add(seq)
            last_seq = max(last_seq, seq)
