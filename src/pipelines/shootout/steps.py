"""The pipeline `shootout`: its steps and their order.

Each step imports its libraries itself, in its child process, so that workers that only load the pipeline do
not import numpy. Work that needs the same large library is done in one step, so that it is imported once.
"""
# ruff: noqa: PLC0415 - see above

import os
from datetime import timedelta

from headrace import Pipeline, StepContext, step
from headrace.pipelines.shootout.outputs import Checked, Matched, Pictures, Prepared, Render, Shootout, Track
from headrace.pipelines.shootout.params import Chain, ShootoutParams

shootout = Pipeline(
    "shootout",
    version=1,
    params=ShootoutParams,
    description="One guitar track through several signal chains, equally loud, on a page to compare them.",
)


@step(runs_in="process", timeout=timedelta(minutes=2))
def validate(context: StepContext[ShootoutParams]) -> Checked:
    """Safe to run again: it only reads.

    Raises:
        PermanentError: `input_invalid`, with all faults.
    """
    _use_one_thread()
    from headrace.pipelines.shootout.checking import check

    return check(context)


@step(runs_in="process", timeout=timedelta(minutes=5))
def prepare(context: StepContext[ShootoutParams]) -> Prepared:
    """Safe to run again: the same DI gives the same bytes, in place of those of the first run.

    Raises:
        PermanentError: `input_invalid`, the DI cannot be used.
    """
    _use_one_thread()
    from headrace.pipelines.shootout.preparing import prepare_di

    return prepare_di(context)


@step(runs_in="process", timeout=timedelta(minutes=30))
def render(context: StepContext[ShootoutParams], chain: Chain) -> Render:
    """Safe to run again: it depends only on the prepared DI and the chain, and replaces its own file.

    Raises:
        PermanentError: `render_failed`, the sound came out silent or infinite; chain and block are named.
    """
    _use_one_thread()
    from headrace.pipelines.shootout.rendering import render_chain

    return render_chain(context, chain, context.output(_prepared))


@step(runs_in="thread")
def match(context: StepContext[ShootoutParams]) -> Matched:
    """Safe to run again: it only calculates with the measures of `render`."""
    from headrace.pipelines.shootout.matching import match_renders

    matched = match_renders(context.output(_rendered), context.params.match)
    if matched.limited_by is not None:
        context.log(
            f"all renders are at {matched.target_lufs:.1f} LUFS instead of "
            f"{context.params.match.target_lufs:.1f}: the peaks of {matched.limited_by!r} allow no more"
        )
    context.progress(1, 1, f"{matched.target_lufs:.1f} LUFS for all")
    return matched


@step(runs_in="process", timeout=timedelta(minutes=10))
def encode(context: StepContext[ShootoutParams], chain: Chain) -> Track:
    """Safe to run again: the same render and gain give the same bytes, in place of those of the first run."""
    _use_one_thread()
    from headrace.pipelines.shootout.encoding import encode_chain
    from headrace.pipelines.shootout.naming import position

    rendered: Render = context.output(_rendered)[position(context.params, chain)]
    return encode_chain(context, chain, rendered, context.output(_matched))


@step(runs_in="process", timeout=timedelta(minutes=5))
def pictures(context: StepContext[ShootoutParams]) -> Pictures:
    """Safe to run again: the same measures give the same bytes, in place of those of the first run."""
    _use_one_thread()
    from headrace.pipelines.shootout.pictures import draw_pictures

    return draw_pictures(
        context, context.output(_prepared), context.output(_rendered), context.output(_matched)
    )


@step(runs_in="process", timeout=timedelta(minutes=5))
def compare(context: StepContext[ShootoutParams]) -> Shootout:
    """Safe to run again: the page is made of finished files, and replaces that of the first run."""
    _use_one_thread()
    from headrace.pipelines.shootout.page import save_page

    return save_page(
        context,
        prepared=context.output(_prepared),
        renders=context.output(_rendered),
        matched=context.output(_matched),
        tracks=context.output(_encoded),
        pictures=context.output(_drawn).pictures,
    )


def _use_one_thread() -> None:
    """Limit numpy to one thread, since chains run in parallel. Call this before numpy is imported."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")


_validated = shootout.add(validate, weight=1)
_prepared = shootout.add(prepare, after=_validated, weight=1)
_rendered = shootout.add(render, for_each=lambda params: params.chains, after=_prepared, weight=10)
_matched = shootout.add(match, after=_rendered, weight=0.2)
_encoded = shootout.add(encode, for_each=lambda params: params.chains, after=_matched, weight=2)
_drawn = shootout.add(pictures, after=_matched, weight=3)
_compared = shootout.add(compare, after=(_encoded, _drawn), result=True, weight=1)
