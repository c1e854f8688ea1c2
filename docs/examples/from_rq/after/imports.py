"""Imports a file of customers: one job with a step that checks the upload and a step that stores its rows."""

from datetime import timedelta

from msgspec import Struct

from headrace import PermanentError, Pipeline, StepContext, step


class Import(Struct, forbid_unknown_fields=True):
    file: str


@step(retries=3, timeout=timedelta(minutes=1))
def check(context: StepContext[Import]) -> int:
    """Safe to run again: it only reads."""
    with context.open_file(context.params.file) as source:
        rows = sum(1 for _ in source)
    if not rows:
        raise PermanentError("the file is empty", code="file_empty")
    return rows


@step(timeout=timedelta(minutes=10))
def store(context: StepContext[Import]) -> int:
    """Safe to run again: a row replaces the one of the same customer."""
    total: int = context.output(checked)
    with context.open_file(context.params.file) as source:
        for done, _row in enumerate(source, start=1):
            context.progress(done, total, f"row {done}")
    return total


customers = Pipeline("customers", params=Import, description="Imports a file of customers.")
checked = customers.add(check)
customers.add(store, result=True)
