"""Nightly reports: a step run for each shop, each with its own tries, and a step that sums up."""

from msgspec import Struct

from headrace import Pipeline, RetryableError, StepContext, step

FIGURES = {"north": 20, "south": 22}
failed: set[str] = set()


class Report(Struct, forbid_unknown_fields=True):
    shops: list[str]


@step(retries=4)
async def fetch(context: StepContext[Report], shop: str) -> int:
    """Ask a shop for its figure; the first try fails, as networks do. Safe to run again: it only reads."""
    if shop not in failed:
        failed.add(shop)
        raise RetryableError(f"no answer from {shop}", retry_after=0.1)
    return FIGURES[shop]


@step
async def total(context: StepContext[Report]) -> int:
    """Safe to run again: it adds up stored outputs."""
    return sum(await context.output(figures))


report = Pipeline("report", params=Report, description="Sums up the figures of some shops.")
figures = report.add(fetch, for_each=lambda params: params.shops)
report.add(total, result=True)
