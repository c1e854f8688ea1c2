"""The calls for statistics, queues and workers as values, which both clients send."""

from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from headrace_client.calls import Call, path_of, query_of
from headrace_client.views import Queue, Scaling, Stats, Worker

T = TypeVar("T")


class _List(Struct, Generic[T]):
    items: list[T]


_read_stats: Final = msgspec.json.Decoder(Stats).decode
_read_queues: Final = msgspec.json.Decoder(_List[Queue]).decode
_read_scaling: Final = msgspec.json.Decoder(Scaling).decode
_read_workers: Final = msgspec.json.Decoder(_List[Worker]).decode


def stats(window: str, pipeline: str | None) -> Call[Stats]:
    params = query_of({"window": window, "pipeline": pipeline})
    return Call(method="GET", path="/stats", read=_read_stats, is_repeatable=True, params=params)


def queues() -> Call[list[Queue]]:
    def read(content: bytes) -> list[Queue]:
        return _read_queues(content).items

    return Call(method="GET", path="/queues", read=read, is_repeatable=True)


def scaling(queue: str, slots: int) -> Call[Scaling]:
    path = path_of("queues", queue, "/scaling")
    return Call(method="GET", path=path, read=_read_scaling, is_repeatable=True, params={"slots": slots})


def workers() -> Call[list[Worker]]:
    def read(content: bytes) -> list[Worker]:
        return _read_workers(content).items

    return Call(method="GET", path="/workers", read=read, is_repeatable=True)
