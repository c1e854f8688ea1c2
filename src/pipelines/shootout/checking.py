"""What `validate` does: look at every input before anything is rendered, and tell of all faults at once."""

import unicodedata
from collections.abc import Iterator
from typing import Final

from headrace import PermanentError, StepContext
from headrace.pipelines.shootout import audio
from headrace.pipelines.shootout.errors import UnusableInputError
from headrace.pipelines.shootout.inputs import load_response, open_di
from headrace.pipelines.shootout.outputs import Checked
from headrace.pipelines.shootout.params import Chain, Ir, ShootoutParams

_MOST_TOLD: Final = 40


def check(context: StepContext[ShootoutParams]) -> Checked:
    """Raises: InvalidInputError with every fault, each on a line of its own."""
    params = context.params
    responses = list(_responses(params.chains))
    total = 1 + len(responses)
    faults = list(_name_faults(params.chains))
    try:
        _look_at_di(context)
    except PermanentError as error:
        faults.append(str(error))
    context.progress(1, total, "looked at the DI")
    good: set[str] = set()
    for done, (place, block) in enumerate(responses, start=2):
        context.raise_if_cancelled()
        try:
            if block.file not in good:
                load_response(context, block, place)
                good.add(block.file)
        except PermanentError as error:
            faults.append(str(error))
        context.progress(done, total, "looked at the impulse responses")
    if faults:
        told = faults[:_MOST_TOLD]
        if len(faults) > len(told):
            told.append(f"and {len(faults) - len(told)} more")
        raise UnusableInputError("\n".join(told))
    return Checked(inputs=total)


def _look_at_di(context: StepContext[ShootoutParams]) -> None:
    wanted = context.params.input
    source, label = open_di(context)
    with source, audio.probe(source, label) as sound:
        if wanted.channel is not None and wanted.channel > sound.channels:
            raise UnusableInputError(
                f"{label} has {sound.channels} channel(s), there is no channel {wanted.channel}"
            )
        seconds = sound.frames / sound.samplerate
        if wanted.start_seconds >= seconds:
            raise UnusableInputError(f"{label} ends at {seconds:.2f} s, before {wanted.start_seconds:g} s")


def _responses(chains: tuple[Chain, ...]) -> Iterator[tuple[str, Ir]]:
    for chain in chains:
        for number, block in enumerate(chain.blocks, start=1):
            if isinstance(block, Ir):
                yield f"chain {chain.name!r}, block {number} (ir)", block


def _name_faults(chains: tuple[Chain, ...]) -> Iterator[str]:
    """A name is how a listener and a later step tell chains apart."""
    seen: set[str] = set()
    for number, name in enumerate((chain.name for chain in chains), start=1):
        if any(unicodedata.category(character) == "Cc" for character in name):
            yield f"chain {number} ({name!r}): the name has control characters"
        same = unicodedata.normalize("NFKC", name).strip().casefold()
        if same in seen:
            yield f"chain {number} ({name!r}): another chain has that name"
        seen.add(same)
