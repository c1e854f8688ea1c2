"""Loads the modules that define pipelines: bundled and named modules, and users' files and folders."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec
from msgspec import Struct

from headrace.domain.pipelines.bundled import BUNDLED, missing_libraries
from headrace.domain.pipelines.definition import Pipeline
from headrace.domain.pipelines.sources import expand
from headrace.domain.pipelines.tracebacks import author_files, format_author_traceback, summarize

_UNIQUE_PREFIX: Final = "headrace_user_"
_MAX_NAMES: Final = 3

RENAME_ADVICE: Final = "the name is taken, so processes that it starts and pickles cannot find it: rename it"


class Failure(Struct, frozen=True):
    """A module that could not be loaded.

    *summary* is one line: the author's file and line, and the error. *traceback* begins with the author's
    code; *files* are those in it.
    """

    source: str
    summary: str
    traceback: str = ""
    files: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: str, error: BaseException) -> "Failure":
        return cls(source, summarize(error), format_author_traceback(error), tuple(author_files(error)))


class Loaded(Struct, frozen=True):
    """All pipelines with their sources, and the modules that could not be loaded.

    *unnamed*: files whose names are taken, so that no other process can import them. *empty*: a sentence for
    each source that defines no pipeline. *refusals*: a sentence for each pipeline that is not served.
    """

    pipelines: dict[tuple[str, int], Pipeline]
    sources: dict[tuple[str, int], str]
    failures: list[Failure]
    unnamed: list[str] = []
    empty: list[str] = []
    refusals: list[str] = []

    def faults(self) -> list[str]:
        """Return a line for each fault of a source, for the author."""
        taken = [f"{source}: {RENAME_ADVICE}" for source in self.unnamed]
        return [*(failure.summary for failure in self.failures), *self.empty, *taken, *self.refusals]

    def without(self, keys: Collection[tuple[str, int]]) -> "Loaded":
        """Return the same without the pipelines with these keys."""
        kept = {key: pipeline for key, pipeline in self.pipelines.items() if key not in keys}
        sources = {key: self.sources[key] for key in kept}
        return msgspec.structs.replace(self, pipelines=kept, sources=sources)

    def process_sources(self) -> list[str]:
        """Return the sources that define steps which run in processes, each once."""
        sources = {
            self.sources[key]: None
            for key, pipeline in self.pipelines.items()
            if any(node.step.runs_in == "process" for node in pipeline.nodes.values())
        }
        return list(sources)


def load_all(sources: Iterable[str], bundled: Collection[str] = tuple(BUNDLED)) -> Loaded:
    """Load the pipelines that *bundled* names, and *sources* (module names, files or folders).

    Bundled pipelines whose libraries are not installed are left out.

    Raises:
        SourceNotFoundError: a source does not exist. A module that fails to import becomes a `Failure`.
    """
    loaded = Loaded({}, {}, [])
    user_modules = {source: list(expand(source)) for source in sources}
    usable = {name: BUNDLED[name] for name in bundled if not missing_libraries(name)}
    for module in dict.fromkeys(usable.values()):
        _load_into(loaded, module)
    loaded = loaded.without({key for key in loaded.pipelines if key[0] not in usable})
    for source, modules in user_modules.items():
        # A folder may hold modules that only help others, so that one pipeline is enough.
        counts = [_load_into(loaded, module) for module in modules]
        if not any(counts) and not any(failure.source in modules for failure in loaded.failures):
            loaded.empty.append(_explain_empty(source))
    return loaded


def _load_into(loaded: Loaded, source: str) -> int:
    """Load a module that `expand` yielded; return the number of pipelines at its top level."""
    try:
        module = load(source)
    except BaseException as error:  # noqa: BLE001  (a user's module may raise anything)
        loaded.failures.append(Failure.of(source, error))
        return 0
    if module.__name__.startswith(_UNIQUE_PREFIX):
        loaded.unnamed.append(source)
    pipelines = list(pipelines_in(module))
    for pipeline in pipelines:
        key = (pipeline.name, pipeline.version)
        if key in loaded.pipelines and loaded.pipelines[key] is not pipeline:
            message = f"pipeline {key[0]!r} version {key[1]} is defined in {loaded.sources[key]} already"
            loaded.failures.append(Failure(source, f"{module.__file__}: {message}"))
            continue
        loaded.pipelines[key] = pipeline
        loaded.sources.setdefault(key, source)
    return len(pipelines)


def _explain_empty(source: str) -> str:
    """Say that *source* defines no pipeline, and what was looked at."""
    path = Path(source).expanduser()
    if path.is_dir() and not (path / "__init__.py").exists():
        what = "the folder has no .py file with a pipeline at its top level; files that begin with _ or ."
        return f"{source!r} yields no pipeline: {what}, and folders in it, are not loaded"
    if path.is_dir():
        file, name = path / "__init__.py", path.name
    elif path.is_file():
        file, name = path, path.stem
    else:
        file, name = Path(getattr(sys.modules[source], "__file__", None) or source), source
    text = f"{source!r} yields no pipeline: {file} defines none at its top level"
    if file.name != "__init__.py":
        return text
    return f"{text}, and the other modules of a package are not loaded; name one, such as {name}.pipelines"


def load(source: str) -> ModuleType:
    """Import one module that `expand` yielded.

    A file keeps the name under which Python finds it from its folder, so that pickles and processes that the
    module starts find it as well. If that name is taken, it is that of a module in a namespace package, as in
    `folder.file`, and if that is taken as well, a unique one that only this process knows.
    """
    path = Path(source)
    if not path.is_absolute():
        return importlib.import_module(source)
    is_package = path.name == "__init__.py"
    label = path.parent.name if is_package else path.stem
    for name, folder in _names(path.parent if is_package else path.with_suffix("")):
        is_new = folder not in sys.path
        if is_new:
            sys.path.append(folder)  # last, so that users' modules cannot shadow installed ones
        if _finds(name, path):
            return importlib.import_module(name)
        if is_new and name != label:  # the neighbours of a file can be imported whatever its own name is
            sys.path.remove(folder)
    name = f"{_UNIQUE_PREFIX}{label}_{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    return sys.modules.get(name) or _import_as(name, path, [str(path.parent)] if is_package else None)


def _names(path: Path) -> Iterator[tuple[str, str]]:
    """Yield names for the module or package at *path*, each with the folder from which Python may find it."""
    name, folder = path.name, path.parent
    for _ in range(_MAX_NAMES):
        yield name, str(folder)
        is_root_next = folder.parent in (folder, folder.parent.parent)
        if is_root_next or "." in folder.name or (folder / "__init__.py").exists():
            return
        name, folder = f"{folder.name}.{name}", folder.parent


def _finds(name: str, path: Path) -> bool:
    """Return whether `import name` gives the module in the file at *path*, and imports no regular package."""
    try:
        if "." in name:
            package = importlib.util.find_spec(name.partition(".")[0])
            if package is None or package.origin is not None:
                return False
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path


def _import_as(name: str, path: Path, search_paths: list[str] | None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=search_paths)
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


def import_path() -> tuple[str, ...]:
    """Return `sys.path` for a process in another working folder: its folders and archives are absolute.

    An entry that is no path stays as it is, such as one of an editable install.
    """
    return tuple(str(Path(entry).absolute()) if Path(entry).exists() else entry for entry in sys.path)


def load_with_path(source: str, entries: Sequence[str]) -> ModuleType:
    """Import one module that `expand` yielded, with `sys.path` equal to *entries* before and after.

    In the process that *entries* come from, the module may have added some of them when it was imported.
    """
    sys.path[:] = entries
    try:
        return load(source)
    finally:
        sys.path[:] = entries


def pipelines_in(module: ModuleType) -> Iterator[Pipeline]:
    """Yield the pipelines at the top level of *module*."""
    seen: set[int] = set()
    for value in vars(module).values():
        if isinstance(value, Pipeline) and id(value) not in seen:
            seen.add(id(value))
            yield value
