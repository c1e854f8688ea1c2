"""Opens the input files of a shootout: the owner's uploads, or the bundled ones."""

from typing import IO

from headrace import PermanentError, StepContext
from headrace.pipelines.shootout import audio
from headrace.pipelines.shootout.errors import UnusableInputError
from headrace.pipelines.shootout.oversampling import Samples
from headrace.pipelines.shootout.params import BUILTIN, Ir, ShootoutParams


def open_di(context: StepContext[ShootoutParams]) -> tuple[IO[bytes], str]:
    """Open the DI's file; return it with its label for messages."""
    return _open(context, context.params.di, "riff.wav", "di")


def load_response(context: StepContext[ShootoutParams], block: Ir, place: str) -> Samples:
    """Load the impulse response of *block*; *place* names the block in messages.

    Raises:
        UnusableInputError: there is no such file, or it cannot be used as a response.
    """
    source, label = _open(context, block.file, "cabinet.wav", place)
    with source:
        # Only the first channel: a mix of two microphones would be a different sound.
        sound = audio.decode(source, label, channel=1, max_seconds=audio.MAX_RESPONSE_SECONDS)
    return audio.response(
        sound, label, length_ms=block.length_ms, normalise=block.normalise, align=block.align
    )


def _open(
    context: StepContext[ShootoutParams], reference: str, builtin: str, place: str
) -> tuple[IO[bytes], str]:
    label = f"{place}: file {reference}"
    if reference == BUILTIN:
        return (audio.ASSETS / builtin).open("rb"), label
    try:
        return context.open_file(reference), label
    except PermanentError as error:
        raise UnusableInputError(f"{label} is not one of your files") from error
