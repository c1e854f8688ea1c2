"""A pipeline whose steps make spans of their own and log, in the loop, in a thread and in a process."""

import logging
from datetime import timedelta

from msgspec import Struct
from opentelemetry import trace

from headrace import Pipeline, RetryableError, StepContext, step

_log = logging.getLogger(__name__)


class Work(Struct):
    """*fails*: the first try of each step in the worker fails."""

    fails: bool = False


_failed: set[str] = set()


def _work(name: str, fails: bool) -> str:
    """Log, make a span, and return the id of the trace."""
    with trace.get_tracer("author").start_as_current_span(f"author in {name}") as span:
        _log.warning("worked in %s", name)
        if fails and name not in _failed:
            _failed.add(name)
            raise RetryableError("again", retry_after=timedelta(milliseconds=10))
        return f"{span.get_span_context().trace_id:032x}"


@step
async def in_loop(context: StepContext[Work]) -> str:
    return _work("loop", context.params.fails)


@step(runs_in="thread")
def in_thread(context: StepContext[Work]) -> str:
    return _work("thread", context.params.fails)


@step(runs_in="process")
def in_process(context: StepContext[Work]) -> str:
    return _work("process", fails=False)


@step
async def collect(context: StepContext[Work]) -> list[str]:
    return [await context.output(handle) for handle in (LOOP, THREAD, PROCESS)]


traced = Pipeline("traced", version=1, params=Work)
LOOP = traced.add(in_loop)
THREAD = traced.add(in_thread)
PROCESS = traced.add(in_process)
traced.add(collect, result=True)
