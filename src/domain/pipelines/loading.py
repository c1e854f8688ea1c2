"""Loads the modules that define pipelines: bundled ones by name, files of users under unique names."""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

from msgspec import Struct

from headrace.domain.errors import HeadraceError
from headrace.domain.pipelines.definition import Pipeline

BUNDLED: Final = ("headrace.pipelines.samples", "headrace.pipelines.shootout")


class SourceNotFoundError(HeadraceError):
    """HEADRACE_PIPELINES names a file, folder or module that does not exist."""

    def __init__(self, source: str) -> None:
        super().__init__(
            f"HEADRACE_PIPELINES: {source!r} is neither a file, a folder nor a module that can be found"
        )


class Failure(Struct, frozen=True):
    """A module that did not load, and its traceback."""

    source: str
    traceback: str


class Loaded(Struct, frozen=True):
    """The pipelines that were found, with the source each came from, and what did not load."""

    pipelines: dict[tuple[str, int], Pipeline]
    sources: dict[tuple[str, int], str]
    failures: list[Failure]


def load_all(sources: Iterable[str]) -> Loaded:
    """Load the bundled modules and *sources* (module names, files or folders).

    Raises:
        SourceNotFoundError: the start must stop. A module that fails to import becomes a `Failure`.
    """
    loaded = Loaded({}, {}, [])
    theirs = [one for source in sources for one in expand(source)]
    for source in (*BUNDLED, *theirs):
        try:
            module = load(source)
        except BaseException:  # noqa: BLE001  (whatever a user's module raises is reported by its name)
            loaded.failures.append(Failure(source, traceback.format_exc()))
            continue
        for pipeline in pipelines_in(module):
            key = (pipeline.name, pipeline.version)
            if key in loaded.pipelines and loaded.pipelines[key] is not pipeline:
                text = f"pipeline {key[0]!r} version {key[1]} is defined in {loaded.sources[key]} already"
                loaded.failures.append(Failure(source, text))
                continue
            loaded.pipelines[key] = pipeline
            loaded.sources.setdefault(key, source)
    return loaded


def expand(source: str) -> Iterator[str]:
    """The modules that *source* stands for, as module names or absolute paths of files.

    Raises:
        SourceNotFoundError: see `load_all`.
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
        yield _named(source)


def load(source: str) -> ModuleType:
    """Import one module that `expand` named: a file under a unique name, everything else by its own."""
    path = Path(source)
    if not path.is_absolute():
        return importlib.import_module(source)
    is_package = path.name == "__init__.py"
    label = path.parent.name if is_package else path.stem
    name = f"headrace_user_{label}_{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    beside = str(path.parent.parent if is_package else path.parent)
    if beside not in sys.path:
        sys.path.append(beside)  # last, so that no module of theirs can take the place of another
    places = [str(path.parent)] if is_package else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=places)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def pipelines_in(module: ModuleType) -> Iterator[Pipeline]:
    """The pipelines at the top level of *module*."""
    seen: set[int] = set()
    for value in vars(module).values():
        if isinstance(value, Pipeline) and id(value) not in seen:
            seen.add(id(value))
            yield value


def _named(source: str) -> str:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        spec = importlib.util.find_spec(source)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise SourceNotFoundError(source)
    return source
