"""Finds the modules that HEADRACE_PIPELINES names, without importing them."""

import contextlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

from headrace.domain.errors import HeadraceError


class SourceNotFoundError(HeadraceError):
    """HEADRACE_PIPELINES names a file, folder or module that does not exist."""

    def __init__(self, source: str) -> None:
        super().__init__(
            f"HEADRACE_PIPELINES: {source!r} is neither a file, a folder nor a module that can be found"
        )


def require_sources(sources: Iterable[str]) -> None:
    """Check that all *sources* exist.

    Raises:
        SourceNotFoundError: one does not.
    """
    for source in sources:
        for _ in expand(source):
            pass


def expand(source: str) -> Iterator[str]:
    """Yield the modules of *source* as module names or absolute paths of files.

    Raises:
        SourceNotFoundError: the source does not exist.
    """
    path = Path(source).expanduser()
    if path.is_dir() and not (path / "__init__.py").exists():
        for entry in sorted(path.iterdir()):
            if entry.suffix == ".py" and not entry.name.startswith((".", "_")):
                yield str(entry.resolve())
    elif path.is_dir():
        yield str((path / "__init__.py").resolve())
    elif path.suffix == ".py" or "/" in source:
        if not path.is_file():
            raise SourceNotFoundError(source)
        yield str(path.resolve())
    else:
        yield _require_module(source)


def _require_module(source: str) -> str:
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:
        sys.path.append(working_directory)
    if _find_spec(source) is None:
        raise SourceNotFoundError(source)
    return source


def _find_spec(name: str) -> ModuleSpec | None:
    """Return the spec of a module, and import the packages above it only if it is not found without that.

    A package may add to its path when it is imported.
    """
    # It fails where the path of a namespace package is read before the package above is imported,
    # or where a finder of a library raises. Python's own search decides then.
    with contextlib.suppress(Exception):
        if (spec := _find_unimported(name)) is not None:
            return spec
    try:
        return importlib.util.find_spec(name)
    except Exception:  # noqa: BLE001  (a package runs its author's code)
        return None


def _find_unimported(name: str) -> ModuleSpec | None:
    spec: ModuleSpec | None = None
    above = ""
    for part in name.split("."):
        if above and (spec is None or spec.submodule_search_locations is None):
            return None
        path = None if spec is None else list(spec.submodule_search_locations or ())
        above = f"{above}.{part}" if above else part
        specs = (finder.find_spec(above, path) for finder in sys.meta_path)
        spec = next((found for found in specs if found is not None), None)
    return spec
