"""The pipelines that come with Headrace, the modules that define them, and the libraries that they need."""

from importlib.util import find_spec
from typing import Final

from headrace.domain.errors import HeadraceError

BUNDLED: Final = {
    "noop": "headrace.pipelines.samples",
    "ticks": "headrace.pipelines.samples",
    "flaky": "headrace.pipelines.samples",
    "crunch": "headrace.pipelines.samples",
    "shootout": "headrace.pipelines.shootout",
}
BUNDLED_MODULES: Final = frozenset(BUNDLED.values())
ALL: Final = "all"
NONE: Final = "none"

_LIBRARIES: Final = {"shootout": ("matplotlib", "numpy", "pyloudnorm", "scipy", "soundfile")}


def choose_bundled(names: tuple[str, ...] | None, env: str) -> tuple[str, ...]:
    """Return the bundled pipelines that *names* means. Unless set: all in local mode, none in production."""
    chosen = names or (ALL if env == "local" else NONE,)
    return tuple(BUNDLED) if ALL in chosen else tuple(name for name in chosen if name != NONE)


def missing_libraries(pipeline: str) -> list[str]:
    """Return the libraries of a bundled pipeline that are not installed. The extra of its name has them."""
    return [name for name in _LIBRARIES.get(pipeline, ()) if find_spec(name) is None]


class MissingExtraError(HeadraceError):
    """HEADRACE_BUNDLED names a pipeline whose libraries are not installed."""

    def __init__(self, name: str, libraries: str) -> None:
        super().__init__(
            f"HEADRACE_BUNDLED: {name} needs {libraries}: pip install 'headrace[{name}]', or remove the name"
        )


def require_extras(names: tuple[str, ...]) -> None:
    """Check that the libraries of the bundled pipelines in *names* are installed.

    Raises:
        MissingExtraError: some are not.
    """
    for name in names:
        if missing := missing_libraries(name):
            raise MissingExtraError(name, ", ".join(missing))


def explain_missing(pipeline: str) -> str | None:
    """Return a sentence that says how to get the libraries of a bundled pipeline; None if it has them."""
    missing = missing_libraries(pipeline)
    advice = f"pip install 'headrace[{pipeline}]'"
    return f"the bundled {pipeline} is off without {', '.join(missing)}: {advice}" if missing else None
