"""Pipelines whose step saves a file: in the loop, in a thread and in a process."""

from datetime import timedelta

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


in_loop = Pipeline("in_loop", version=1, params=Nothing)
in_loop.add(save_in_loop, result=True)
in_thread = Pipeline("in_thread", version=1, params=Nothing)
in_thread.add(save_in_thread, result=True)
in_process = Pipeline("in_process", version=1, params=Nothing)
in_process.add(save_in_process, result=True)
in_time = Pipeline("in_time", version=1, params=Nothing)
in_time.add(save_in_time, result=True)
