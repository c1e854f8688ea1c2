"""Runs the step `validate`: checks every input before anything is rendered and reports all faults at once."""

import unicodedata
from collections.abc import Iterator
from typing import Final

from headrace import PermanentError, StepContext
from headrace.pipelines.shootout import audio
from headrace.pipelines.shootout.errors import UnusableInputError
from headrace.pipelines.shootout.inputs import load_response, open_di
from headrace.pipelines.shootout.outputs import Checked
from headrace.pipelines.shootout.params import Chain, Ir, ShootoutParams
from headrace.pipelines.shootout.preparing import check_rendered

_MAX_FAULTS_SHOWN: Final = 40


def check(context: StepContext[ShootoutParams]) -> Checked:
    """Check all inputs.

    Raises:
        UnusableInputError: with one line for each fault.
    """
    params = context.params
    responses = list(_responses(params.chains))
    total = 1 + len(responses)
    faults = list(_name_faults(params.chains))
    try:
        _check_di(context)
    except PermanentError as error:
        faults.append(str(error))
    context.progress(1, total, "looked at the DI")
    checked: set[str] = set()
    for done, (place, block) in enumerate(responses, start=2):
        context.raise_if_cancelled()
        try:
            if block.file not in checked:
                load_response(context, block, place)
                checked.add(block.file)
        except PermanentError as error:
            faults.append(str(error))
        context.progress(done, total, "looked at the impulse responses")
    if faults:
        shown = faults[:_MAX_FAULTS_SHOWN]
        if len(faults) > len(shown):
            shown.append(f"and {len(faults) - len(shown)} more")
        raise UnusableInputError("\n".join(shown))
    return Checked(inputs=total)


def _check_di(context: StepContext[ShootoutParams]) -> None:
    options = context.params.input
    source, label = open_di(context)
    with source, audio.probe(source, label) as sound:
        if options.channel is not None and options.channel > sound.channels:
            raise UnusableInputError(
                f"{label} has {sound.channels} channel(s), there is no channel {options.channel}"
            )
        seconds = sound.frames / sound.samplerate
        if options.start_seconds >= seconds:
            raise UnusableInputError(f"{label} ends at {seconds:.2f} s, before {options.start_seconds:g} s")
        taken = seconds - options.start_seconds
        check_rendered(context.params, min(taken, options.duration_seconds or taken))


def _responses(chains: tuple[Chain, ...]) -> Iterator[tuple[str, Ir]]:
    for chain in chains:
        for number, block in enumerate(chain.blocks, start=1):
            if isinstance(block, Ir):
                yield f"chain {chain.name!r}, block {number} (ir)", block


def _name_faults(chains: tuple[Chain, ...]) -> Iterator[str]:
    """Yield names that are not unique or not printable: listeners and later steps identify chains by name."""
    seen: set[str] = set()
    for number, name in enumerate((chain.name for chain in chains), start=1):
        if any(unicodedata.category(character) == "Cc" for character in name):
            yield f"chain {number} ({name!r}): the name has control characters"
        key = unicodedata.normalize("NFKC", name).strip().casefold()
        if key in seen:
            yield f"chain {number} ({name!r}): another chain has that name"
        seen.add(key)
