"""Steps that say what they should keep to themselves, for the journeys."""

from msgspec import Struct

from headrace import PermanentError, Pipeline, StepContext, step


class Params(Struct):
    secret: str


@step(retries=0)
async def talk_in_loop(context: StepContext[Params]) -> None:
    """Safe to run again: it only talks."""
    said = context.params.secret
    await context.log(f"calling with {said}", url=f"https://u:{said}@h/?token={said}", sent=[said])
    await context.progress(1, 2, f"with {said}")
    raise PermanentError(f"refused: {said}")


@step(retries=0, runs_in="process")
def talk_in_process(context: StepContext[Params]) -> None:
    """Safe to run again: it only talks."""
    said = context.params.secret
    context.log(f"calling with {said}", url=f"https://u:{said}@h/?token={said}", sent=[said])
    context.progress(1, 2, f"with {said}")
    raise ValueError(f"refused: {said}")


in_loop = Pipeline("talk_in_loop", version=1, params=Params)
in_loop.add(talk_in_loop, result=True)
in_process = Pipeline("talk_in_process", version=1, params=Params)
in_process.add(talk_in_process, result=True)
