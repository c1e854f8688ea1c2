"""The pipelines of the mixed chaos run, in the release that the folder of this file names.

`release_1` is what the run begins with. `release_2` changes version 1 of `mixed` so that its jobs go on.
`release_3` has version 2 of it instead, with one more step.
"""

import asyncio
import hashlib
import os
import time
from datetime import timedelta
from pathlib import Path

from msgspec import Struct

from headrace import PermanentError, Pipeline, RetryableError, StepContext, step

RELEASE = int(Path(__file__).parent.name.partition("release_")[2] or "1")


class Mixed(Struct):
    """*fails* is the number of attempts that fail for good, *upload* a file that the job reads."""

    ledger: str
    items: int = 2
    seconds: float = 0.0
    fails: int = 0
    upload: str = ""


class MixedWithNote(Mixed):
    note: str = ""


class Summary(Struct):
    total: int
    upload: str


def enter(context: StepContext[Mixed], run: str) -> None:
    """Append a line to the ledger in a single write, because other processes also write to it."""
    line = f"{context.job_id} {run} {context.attempt}\n".encode()
    ledger = os.open(context.params.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(ledger, line)
    finally:
        os.close(ledger)


@step
async def begin(context: StepContext[Mixed]) -> str:
    """Safe to run again: its entry is counted. Returns the digest of the upload."""
    enter(context, "begin")
    await context.log("begun", attempt=context.attempt)
    if context.attempt <= context.params.fails:
        raise PermanentError("on purpose", code="on_purpose")
    if not context.params.upload:
        return ""
    with await context.open_file(context.params.upload) as upload:
        return hashlib.sha256(upload.read()).hexdigest()


# The store may refuse files for a while.
@step(retries=1_000)
async def carry(context: StepContext[Mixed], number: int) -> int:
    """Safe to run again: its entry is counted, and a file replaces the one before."""
    enter(context, f"carry[{number}]")
    await context.progress(0, 1)
    await asyncio.sleep(context.params.seconds)
    try:
        await context.save_file("carried", f"{context.job_id} {number}".encode(), "text/plain")
    except OSError as error:
        raise RetryableError(f"the store refuses the file: {error}", retry_after=0.3) from error
    return number


@step
async def check(context: StepContext[Mixed]) -> int:
    """Safe to run again: its entry is counted."""
    enter(context, "check")
    return len(await context.output(carried))


@step
async def finish(context: StepContext[Mixed]) -> Summary:
    """Safe to run again: its entry is counted."""
    enter(context, "finish")
    return Summary(sum(await context.output(carried)), await context.output(begun))


@step(retries=1_000, runs_in="process", grace=timedelta(seconds=0.5))
def carry_apart(context: StepContext[Mixed]) -> Summary:
    """Safe to run again: its entry is counted, and a file replaces the one before."""
    enter(context, "carry_apart")
    time.sleep(context.params.seconds)
    context.save_file("carried", f"{context.job_id} apart".encode(), "text/plain")
    return Summary(0, context.output(apart_begun))


mixed = Pipeline(
    "mixed",
    version=2 if RELEASE == 3 else 1,
    params=Mixed if RELEASE == 1 else MixedWithNote,
    description=f"Release {RELEASE}.",
)
begun = mixed.add(begin)
carried = mixed.add(carry, for_each=lambda params: range(params.items), after=begun)
if RELEASE == 3:
    mixed.add(check, after=carried)
mixed.add(finish, result=True)

mixed_apart = Pipeline("mixed_apart", version=1, params=Mixed)
apart_begun = mixed_apart.add(begin)
mixed_apart.add(carry_apart, after=apart_begun, result=True)
