"""Pipelines whose step saves a file, in the loop, in a thread and in a process, or reads one."""

from datetime import timedelta
from uuid import UUID

from msgspec import Struct

from headrace import Pipeline, StepContext, step


class Nothing(Struct):
    """No parameters."""


@step
async def save_in_loop(context: StepContext[Nothing]) -> str:
    return str(await context.save_file("kept.txt", b"kept", "text/plain"))


@step(runs_in="thread")
def save_in_thread(context: StepContext[Nothing]) -> str:
    return str(context.save_file("kept.txt", b"kept", "text/plain"))


@step(runs_in="process")
def save_in_process(context: StepContext[Nothing]) -> str:
    path = context.scratch / "kept.txt"
    path.write_bytes(b"kept")
    return str(context.save_file("kept.txt", path, "text/plain"))


@step(timeout=timedelta(seconds=1))
async def save_in_time(context: StepContext[Nothing]) -> str:
    return str(await context.save_file("kept.txt", b"kept", "text/plain"))


@step(retries=0)
async def save_much(context: StepContext[Nothing]) -> None:
    await context.save_file("large.bin", bytes(600_000), "application/octet-stream")


large = Pipeline("large", version=1, params=Nothing)
large.add(save_much)


class OneFile(Struct):
    """The file to read."""

    file: UUID


@step(retries=0)
async def read(context: StepContext[OneFile]) -> str:
    with await context.open_file(context.params.file) as opened:
        content: bytes = opened.read()
    return content.decode()


reading = Pipeline("reading", version=1, params=OneFile)
reading.add(read, result=True)
in_loop = Pipeline("in_loop", version=1, params=Nothing)
in_loop.add(save_in_loop, result=True)
in_thread = Pipeline("in_thread", version=1, params=Nothing)
in_thread.add(save_in_thread, result=True)
in_process = Pipeline("in_process", version=1, params=Nothing)
in_process.add(save_in_process, result=True)
in_time = Pipeline("in_time", version=1, params=Nothing)
in_time.add(save_in_time, result=True)
