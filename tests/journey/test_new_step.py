"""A user's step needs only a single file that the settings name, such as this file."""

import msgspec
from msgspec import Struct

from headrace import Pipeline, StepContext, step
from headrace.settings import Settings
from support.harness import serving, working


class Words(Struct, forbid_unknown_fields=True):
    words: list[str]


@step
async def count_letters(context: StepContext[Words]) -> int:
    """Safe to run again: it only reads."""
    await context.progress(1, 1)
    return sum(len(word) for word in context.params.words)


letters = Pipeline("letters_of_a_test", version=1, params=Words)
letters.add(count_letters, result=True)


async def test_a_step_defined_in_a_single_file_runs_as_a_job(settings: Settings) -> None:
    own = msgspec.structs.replace(settings, pipelines=(__file__,))

    async with serving(own) as api, working(own):
        job = await api.submit("letters_of_a_test", params={"words": ["abc", "de"]})
        done = await api.finish(job["id"])

    assert (done["state"], done["result"]) == ("succeeded", 5)
