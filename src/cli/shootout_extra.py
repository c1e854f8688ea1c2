"""The libraries of the extra `shootout`, which the demo needs."""

from importlib.util import find_spec
from typing import Final

_LIBRARIES: Final = ("matplotlib", "numpy", "pyloudnorm", "scipy", "soundfile")


def missing_libraries() -> list[str]:
    """Return the libraries that are not installed."""
    return [name for name in _LIBRARIES if find_spec(name) is None]
