"""Steps that run until their worker stops: one then ends, the other does not."""

import asyncio
import time
from datetime import timedelta

from headrace import JobCancelledError, Pipeline, StepContext, step


@step(grace=timedelta(minutes=5))
def end_when_stopped(context: StepContext) -> int:
    """Safe to run again: it does nothing."""
    context.progress(1, 2)
    try:
        while True:
            context.raise_if_cancelled()
            time.sleep(0.01)
    except JobCancelledError:
        return 1


@step
async def run_on(context: StepContext) -> None:
    """Safe to run again: it does nothing."""
    await asyncio.Event().wait()


ending = Pipeline("ending", params=dict)
ending.add(end_when_stopped, result=True)
lasting = Pipeline("lasting", params=dict)
lasting.add(run_on)
