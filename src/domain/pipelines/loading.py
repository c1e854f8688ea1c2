"""Loads the modules in which authors define their pipelines: ours by name, theirs under unique names.

`src` is the import root, so our top-level names (`settings`, `app`, `domain`, ...) are taken in this process.
A module of a user that is shadowed by one of them, or would shadow it, is refused before it can do harm.
"""

import ast
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

from domain.errors import HeadraceError
from domain.pipelines.definition import Pipeline

BUNDLED: Final = ("pipelines.samples", "pipelines.shootout")

_ROOT: Final = Path(__file__).parents[2]


class NameClashError(HeadraceError):
    """A module of the user's has a name of ours."""

    def __init__(self, theirs: Path | str, ours: Path) -> None:
        super().__init__(f"HEADRACE_PIPELINES: {theirs} has the name of Headrace's own {ours}; rename it")


class SourceNotFoundError(HeadraceError):
    """HEADRACE_PIPELINES names something that is not there."""

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
        NameClashError, SourceNotFoundError: the start must stop; what merely fails to import is a `Failure`.
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
        NameClashError, SourceNotFoundError: see `load_all`.
    """
    path = Path(source).expanduser()
    if path.is_dir() and not (path / "__init__.py").exists():
        for entry in sorted(path.iterdir()):
            is_module = entry.suffix == ".py" and not entry.name.startswith((".", "_"))
            if is_module or (entry.is_dir() and any(entry.glob("*.py"))):
                _refuse_clash(entry)
            if is_module:
                yield _checked(entry)
    elif path.is_dir():
        _refuse_clash(path)
        yield _checked(path / "__init__.py")
    elif path.suffix == ".py" or "/" in source:
        if not path.is_file():
            raise SourceNotFoundError(source)
        _refuse_clash(path)
        yield _checked(path)
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
    ours = _our_module(source.split(".", maxsplit=1)[0])
    if ours is not None and not source.startswith("pipelines."):
        raise NameClashError(source, ours)
    try:
        spec = importlib.util.find_spec(source)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise SourceNotFoundError(source)
    return source


def _checked(path: Path) -> str:
    """Refuse a file that imports a module of its own folder by a name that is ours."""
    path = path.resolve()
    folder = path.parent.parent if path.name == "__init__.py" else path.parent
    for name in _imported(path):
        for sibling in (folder / f"{name}.py", folder / name):
            ours = _our_module(name)
            if ours is not None and sibling.exists() and sibling.resolve() != ours:
                raise NameClashError(sibling, ours)
    return str(path)


def _imported(path: Path) -> set[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return set()  # the import itself reports it, with its traceback
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def _refuse_clash(path: Path) -> None:
    path = path.resolve()
    ours = _our_module(path.stem)
    if ours is not None and ours != path and _ROOT not in path.parents:
        raise NameClashError(path, ours)


def _our_module(name: str) -> Path | None:
    for candidate in (_ROOT / f"{name}.py", _ROOT / name):
        if candidate.exists():
            return candidate
    return None
