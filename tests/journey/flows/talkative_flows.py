"""Steps that put a secret into logs and errors, for the journeys."""

from msgspec import Struct

from headrace import PermanentError, Pipeline, StepContext, step


class Params(Struct):
    secret: str


@step(retries=0)
async def talk_in_loop(context: StepContext[Params]) -> None:
    """Safe to run again: it only logs and fails."""
    secret = context.params.secret
    await context.log(f"calling with {secret}", url=f"https://u:{secret}@h/?token={secret}", sent=[secret])
    await context.progress(1, 2, f"with {secret}")
    raise PermanentError(f"refused: {secret}")


@step(retries=0, runs_in="process")
def talk_in_process(context: StepContext[Params]) -> None:
    """Safe to run again: it only logs and fails."""
    secret = context.params.secret
    context.log(f"calling with {secret}", url=f"https://u:{secret}@h/?token={secret}", sent=[secret])
    context.progress(1, 2, f"with {secret}")
    raise ValueError(f"refused: {secret}")


in_loop = Pipeline("talk_in_loop", version=1, params=Params)
in_loop.add(talk_in_loop, result=True)
in_process = Pipeline("talk_in_process", version=1, params=Params)
in_process.add(talk_in_process, result=True)
