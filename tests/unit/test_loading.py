"""Modules of users are loaded under any name, and errors in them are reported."""

import queue
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from headrace.domain.pipelines.loading import (
    RENAME_ADVICE,
    import_path,
    load,
    load_all,
    load_with_path,
)
from headrace.domain.pipelines.sources import SourceNotFoundError, expand, require_sources
from support.patience import PATIENCE_SECONDS

FLOW = """
from msgspec import Struct
from headrace import Pipeline, StepContext, step

class Params(Struct):
    pass

@step
async def only(context: StepContext[Params]) -> None:
    pass

{name} = Pipeline({name!r}, version={version}, params=Params)
{name}.add(only)
"""


def flow(path: Path, name: str, version: int = 1, before: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(before + FLOW.format(name=name, version=version))
    return path


def names(*sources: Path | str) -> set[str]:
    return {name for name, _ in load_all([str(source) for source in sources]).pipelines}


def test_the_bundled_pipelines_are_loaded() -> None:
    assert {"noop", "ticks", "flaky", "crunch", "shootout"} <= names()


def test_a_file_a_folder_and_a_package_are_loaded(tmp_path: Path) -> None:
    file = flow(tmp_path / "a" / "one.py", "one")
    flow(tmp_path / "folder" / "two.py", "two")
    flow(tmp_path / "folder" / "three.py", "three")
    flow(tmp_path / "folder" / "_hidden.py", "hidden")
    flow(tmp_path / "package" / "__init__.py", "four")

    imported = names(file, tmp_path / "folder", tmp_path / "package")

    assert {"one", "two", "three", "four"} <= imported
    assert "hidden" not in imported


@pytest.mark.usefixtures("fresh_imports")
def test_two_files_with_the_same_name_are_separate_modules(tmp_path: Path) -> None:
    first = flow(tmp_path / "a" / "flows.py", "first_one")
    second = flow(tmp_path / "b" / "flows.py", "second_one")

    assert {"first_one", "second_one"} <= names(first, second)


SPAWNING = """
import multiprocessing
from pathlib import Path
from headrace.domain.pipelines.loading import load_all, load

if __name__ == "__main__":
    files = {files!r}
    loaded = load_all(files)
    assert loaded.failures == loaded.unnamed == [], loaded
    for method in {methods!r}:
        for file in files:
            module = load(file)
            with multiprocessing.get_context(method).Pool(1) as pool:
                print(method, pool.apply_async(module.where).get(60) == file, module.__name__)
"""


def test_processes_that_a_module_starts_find_it_although_its_name_is_taken(tmp_path: Path) -> None:
    files = [tmp_path / "one" / "pool.py", tmp_path / "two" / "pool.py", tmp_path / "one" / "queue.py"]
    files.append(tmp_path / "two" / "json" / "__init__.py")
    for number, file in enumerate(files):
        flow(file, f"flow_{number}", before="def where():\n    return __file__\n")
    methods = ["spawn", "forkserver"]
    script = tmp_path / "script.py"
    script.write_text(SPAWNING.format(files=list(map(str, files)), methods=methods))

    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )

    names = ["pool", "two.pool", "one.queue", "two.json"]
    assert ran.stdout.splitlines() == [f"{method} True {name}" for method in methods for name in names], ran


@pytest.mark.usefixtures("fresh_imports")
def test_a_file_without_a_name_of_its_own_is_loaded_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "with.dot"
    file = flow(folder / "queue.py", "hidden_flow")

    loaded = load_all([str(file)])

    assert ("hidden_flow", 1) in loaded.pipelines
    assert (loaded.failures, loaded.unnamed) == ([], [str(file)])


@pytest.mark.usefixtures("fresh_imports")
def test_no_folder_is_searched_in_vain_for_a_file_whose_name_is_taken(tmp_path: Path) -> None:
    """The folder has the name of a package, which is not imported either."""
    file = flow(tmp_path / "team" / "unittest" / "queue.py", "in_a_test_folder")
    before = set(sys.path)

    loaded = load_all([str(file)])

    added = {Path(entry) for entry in set(sys.path) - before}
    assert loaded.unnamed == []
    assert added == {file.parent, tmp_path}


def test_a_module_is_found_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow(tmp_path / "company_flows" / "billing.py", "billing")
    (tmp_path / "company_flows" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    assert "billing" in names("company_flows.billing")


def test_a_file_can_import_its_neighbour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour_of_the_flow.py").write_text("VALUE = 1\n")
    file = flow(tmp_path / "with_neighbour.py", "with_neighbour", before="import neighbour_of_the_flow\n")

    assert "with_neighbour" in names(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import nothing_of_this_name\n", "No module named 'nothing_of_this_name'"),
        ("def broken(:\n", "SyntaxError"),
        ("raise RuntimeError('no luck')\n", "RuntimeError: no luck"),
        ("raise SystemExit(3)\n", "SystemExit"),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("class OutError(BaseException): ...\nraise OutError('out')\n", "OutError: out"),
        ("from headrace import Pipeline\nPipeline('Bad', params=dict)\n", "PipelineDefinitionError"),
    ],
)
def test_a_broken_module_is_reported_and_the_others_load(tmp_path: Path, content: str, message: str) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(content)
    good = flow(tmp_path / "good_flow.py", "good_flow")

    loaded = load_all([str(broken), str(good)])

    assert ("good_flow", 1) in loaded.pipelines
    assert [failure.source for failure in loaded.failures] == [str(broken)]
    assert message in loaded.failures[0].traceback


def test_a_pipeline_defined_twice_keeps_its_first_definition(tmp_path: Path) -> None:
    first = flow(tmp_path / "a" / "x.py", "twice")
    second = flow(tmp_path / "b" / "y.py", "twice")

    loaded = load_all([str(first), str(second)])

    assert loaded.sources[("twice", 1)] == str(first)
    assert [failure.source for failure in loaded.failures] == [str(second)]


def test_a_module_a_file_a_folder_and_a_package_without_a_pipeline_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty_file.py").write_text("x = 1\n")
    (tmp_path / "empty_folder").mkdir()
    flow(tmp_path / "empty_folder" / "inner" / "deep.py", "deep")
    flow(tmp_path / "lost_package" / "pipelines.py", "lost")
    (tmp_path / "lost_package" / "__init__.py").touch()
    sources = ["queue", *(str(tmp_path / name) for name in ("empty_file.py", "empty_folder", "lost_package"))]

    loaded = load_all(sources)

    assert loaded.failures == []
    module, file, folder, package = loaded.empty
    assert module == f"'queue' yields no pipeline: {queue.__file__} defines none at its top level"
    assert file.endswith("empty_file.py defines none at its top level")
    assert "the folder has no .py file with a pipeline" in folder
    assert (
        "the other modules of a package are not loaded; name one, such as lost_package.pipelines" in package
    )


def test_a_folder_needs_only_one_pipeline_and_a_module_that_fails_is_no_empty_source(tmp_path: Path) -> None:
    flow(tmp_path / "some" / "flow_of_some.py", "flow_of_some")
    (tmp_path / "some" / "helper_of_some.py").write_text("x = 1\n")
    (tmp_path / "fails_at_once.py").write_text("import missing_module\n")

    assert load_all([str(tmp_path / "some"), str(tmp_path / "fails_at_once.py")]).empty == []


def test_only_the_bundled_pipelines_that_are_named_are_loaded() -> None:
    assert {name for name, _ in load_all([], ("noop", "crunch")).pipelines} == {"noop", "crunch"}
    assert load_all([], ()).pipelines == {}


@pytest.mark.usefixtures("fresh_imports")
def test_a_failure_is_one_line_with_the_authors_own_file_and_line(tmp_path: Path) -> None:
    helper = tmp_path / "broken_helper.py"
    helper.write_text("import json\n\n\ndef read():\n    return json.loads('{')\n")
    calls = tmp_path / "calls_helper.py"
    calls.write_text("import broken_helper\n\nbroken_helper.read()\n")
    syntax = tmp_path / "bad_syntax.py"
    syntax.write_text("x = 1\ndef broken(:\n")
    missing = tmp_path / "missing_import.py"
    missing.write_text("import json\nimport not_installed_anywhere\n")

    failures = load_all([str(calls), str(syntax), str(missing)]).failures

    assert [failure.summary.split(": ")[:2] for failure in failures] == [
        [f"{helper}:5", "JSONDecodeError"],
        [f"{syntax}:2", "SyntaxError"],
        [f"{missing}:2", "ModuleNotFoundError"],
    ]
    assert all("\n" not in failure.summary for failure in failures)
    for failure in failures:
        assert "importlib" not in failure.traceback
        assert "loading.py" not in failure.traceback
    assert failures[0].traceback.startswith(f'Traceback (most recent call last):\n  File "{calls}", line 3')
    assert {str(calls), str(helper)} <= set(failures[0].files)
    assert failures[1].files[0] == str(syntax)


def test_the_import_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib").mkdir()
    (tmp_path / "code.zip").touch()
    monkeypatch.setattr(
        sys, "path", ["", "lib", "code.zip", "/usr/lib", "__editable__.x.finder.__path_hook__"]
    )

    assert import_path() == (
        str(tmp_path),
        str(tmp_path / "lib"),
        str(tmp_path / "code.zip"),
        "/usr/lib",
        "__editable__.x.finder.__path_hook__",
    )


@pytest.mark.usefixtures("fresh_imports")
def test_a_module_is_loaded_with_the_import_path_of_another_process(tmp_path: Path) -> None:
    """The module adds an entry, as it did in the other process."""
    content = "import sys\nPATH = list(sys.path)\nsys.path.insert(0, '/added')\n"
    (tmp_path / "path_keeper.py").write_text(content)
    entries = ["/added", str(tmp_path), *sys.path]

    module = load_with_path("path_keeper", entries)

    assert (module.PATH, sys.path) == (entries, entries)


OWN_PACKAGES = ("adapters", "api", "app", "cli", "domain", "headrace", "pipelines", "settings", "workers")


@pytest.mark.parametrize("name", OWN_PACKAGES)
@pytest.mark.usefixtures("fresh_imports")
def test_a_file_may_share_the_name_of_a_headrace_package(tmp_path: Path, name: str) -> None:
    file = flow(tmp_path / f"{name}.py", "mine")

    loaded = load_all([str(file)])

    assert loaded.sources["mine", 1] == str(file)
    assert loaded.failures == []


@pytest.mark.usefixtures("fresh_imports")
def test_packages_of_a_project_may_be_called_app_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "__init__.py").write_text("VALUE = 1\n")
    flow(tmp_path / "app" / "pipelines.py", "mine", before="from settings import VALUE\nassert VALUE == 1\n")
    (tmp_path / "app" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)

    loaded = load_all(["app.pipelines"])

    assert loaded.sources["mine", 1] == "app.pipelines"
    assert loaded.failures == []
    assert Path(str(sys.modules["settings"].__file__)).parent == tmp_path / "settings"


@pytest.mark.parametrize("source", ["nowhere.py", "./nowhere/", "no_such_module", "no.such.module", "a b"])
def test_a_missing_source_is_reported_with_its_setting(source: str) -> None:
    with pytest.raises(SourceNotFoundError, match="HEADRACE_PIPELINES"):
        load_all([source])


@pytest.mark.parametrize("source", ["nowhere.py", "./nowhere/", "no_such_module", "json.no_such_module"])
def test_missing_sources_are_found_before_anything_is_loaded(source: str) -> None:
    with pytest.raises(SourceNotFoundError, match=f"HEADRACE_PIPELINES: '{source}' is neither"):
        require_sources(["json.decoder", source])


def test_sources_are_found_without_their_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "exploding_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise LookupError('imported')")
    (package / "flows.py").write_text("raise LookupError('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    require_sources(["exploding_package", "exploding_package.flows", str(package), str(package / "flows.py")])

    assert "exploding_package" not in sys.modules
    with pytest.raises(SourceNotFoundError):
        require_sources(["exploding_package.folws"])


def test_a_package_that_extends_its_own_path_is_imported_to_look_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "extending_package").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "flows.py").touch()
    code = f"__path__.append({str(tmp_path / 'elsewhere')!r})"
    (tmp_path / "extending_package" / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)

    assert list(expand("extending_package.flows")) == ["extending_package.flows"]


@pytest.mark.parametrize("package", ["", "__init__.py"])
@pytest.mark.usefixtures("fresh_imports")
def test_a_module_below_a_namespace_folder_in_a_package_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    flow(tmp_path / "acme_jobs" / "flows" / "nightly.py", "mine")
    if package:
        (tmp_path / "acme_jobs" / package).touch()
    monkeypatch.syspath_prepend(tmp_path)

    require_sources(["acme_jobs.flows.nightly"])

    assert load_all(["acme_jobs.flows.nightly"]).sources["mine", 1] == "acme_jobs.flows.nightly"
    with pytest.raises(SourceNotFoundError):
        require_sources(["acme_jobs.flows.nihgtly"])


def test_a_file_that_is_not_a_python_module_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "flows.txt"
    file.touch()

    with pytest.raises(ImportError, match=r"flows\.txt is not a Python module$"):
        load(str(file))


def test_the_faults_of_sources_have_a_line_each(tmp_path: Path) -> None:
    broken, empty = tmp_path / "broken_flow.py", tmp_path / "empty_flow.py"
    broken.write_text("\nundefined_name\n")
    empty.touch()

    loaded = load_all([str(broken), str(empty)])

    faults = msgspec.structs.replace(loaded, unnamed=["queue.py"], refusals=["pipeline a@1 changed"]).faults()
    assert faults == [
        f"{broken}:2: NameError: name 'undefined_name' is not defined",
        f"'{empty}' yields no pipeline: {empty} defines none at its top level",
        f"queue.py: {RENAME_ADVICE}",
        "pipeline a@1 changed",
    ]


def test_a_broken_file_leaves_no_partial_module_behind(tmp_path: Path) -> None:
    file = tmp_path / "half.py"
    file.write_text("VALUE = 1\nraise LookupError(VALUE)\n")
    before = set(sys.modules)

    for _ in range(2):
        with pytest.raises(LookupError):
            load(str(file))

    assert set(sys.modules) - before == set()


def test_a_module_below_a_file_that_is_no_package_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain_file_not_package.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    with pytest.raises(SourceNotFoundError) as refused:
        load_all(["plain_file_not_package.flows"])

    assert str(refused.value) == (
        "HEADRACE_PIPELINES: 'plain_file_not_package.flows' is neither a file, a folder nor a module that "
        "can be found"
    )


def test_an_error_whose_text_cannot_be_had_is_reported_all_the_same(tmp_path: Path) -> None:
    source = tmp_path / "mute.py"
    source.write_text(
        "class Mute(Exception):\n    def __str__(self):\n        raise RuntimeError\n\nraise Mute\n"
    )

    (failure,) = load_all([str(source)], ()).failures

    assert failure.summary == f"{source}:5: Mute: (its text cannot be had)"


def test_a_module_of_a_taken_name_that_fails_is_not_kept(tmp_path: Path) -> None:
    source = tmp_path / "json.py"  # a module of Python has that name
    source.write_text("raise RuntimeError('broken')\n")
    before = set(sys.modules)

    (failure,) = load_all([str(source)], ()).failures

    assert failure.summary == f"{source}:1: RuntimeError: broken"
    assert {name for name in set(sys.modules) - before if name.startswith("headrace_user_")} == set()
