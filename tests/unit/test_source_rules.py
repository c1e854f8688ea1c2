"""Rules about the source that no linter checks."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace.api.jobs.schemas import SubmitJob
from headrace.domain import tables
from headrace.domain.base import METADATA

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "src").as_posix()


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that are imported anywhere below *tree*."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def is_controller(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and any(
        isinstance(base, ast.Name) and base.id == "Controller" for base in node.bases
    )


def test_no_source_file_imports_the_json_module() -> None:
    importing = [name_of(path) for path in SOURCES if "json" in imported(ast.parse(path.read_text()))]

    assert importing == []


def test_only_commands_and_the_shootout_import_inside_functions() -> None:
    importing = {
        name_of(path)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and list(imported(node))
    }

    others = {name for name in importing if not name.startswith(("cli/", "pipelines/shootout/"))}
    assert others == set()


def test_controllers_import_no_database_libraries() -> None:
    trees = {path: ast.parse(path.read_text()) for path in (ROOT / "src" / "api").rglob("*.py")}
    controllers = [path for path, tree in trees.items() if any(map(is_controller, ast.walk(tree)))]
    (contract,) = [
        contract
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["name"] == "controllers hold no queries"
    ]

    offenders = [
        name_of(path)
        for path in controllers
        if {module.partition(".")[0] for module in imported(trees[path])} & {"sqlalchemy", "asyncpg"}
    ]

    assert len(controllers) >= 10
    assert offenders == []
    modules = {"headrace." + name_of(path).removesuffix(".py").replace("/", ".") for path in controllers}
    assert modules <= set(contract["source_modules"])


def models() -> dict[str, Any]:
    """Return the mapped classes by name."""
    named = {name: getattr(tables, name) for name in tables.__all__}
    return {name: value for name, value in named.items() if hasattr(value, "__mapper__")}


def test_relationships_are_never_loaded_implicitly() -> None:
    relations = [
        (name, relation.key, relation.lazy)
        for name, model in models().items()
        for relation in model.__mapper__.relationships
    ]

    assert len(relations) >= 5
    assert [relation for relation in relations if relation[2] != "raise"] == []


def test_all_time_columns_have_a_time_zone() -> None:
    times = [
        column
        for table in METADATA.tables.values()
        for column in table.columns
        if "DATE" in str(column.type).upper() or "TIME" in str(column.type).upper()
    ]

    assert len(times) >= 30
    assert [str(column) for column in times if not getattr(column.type, "timezone", True)] == []


def test_files_tables_and_models_follow_the_naming_rules() -> None:
    odd_files = [name_of(path) for path in SOURCES if not re.fullmatch(r"[a-z0-9_/]+\.py", name_of(path))]
    plural_models = [name for name in models() if re.search(r"[^s]s$", name)]
    singular_tables = [name for name in METADATA.tables if not name.endswith("s")]

    assert (odd_files, plural_models, singular_tables) == ([], [], [])


def test_no_class_name_is_defined_twice() -> None:
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name_of(path))

    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_own_modules_are_imported_by_their_full_name() -> None:
    packages = {"adapters", "api", "app", "cli", "domain", "pipelines", "settings", "workers"}
    paths = [*SOURCES, *(ROOT / "migrations").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    outside = {
        (path.name, module)
        for path in paths
        for module in imported(ast.parse(path.read_text()))
        if module.partition(".")[0] in packages
    }

    assert len(paths) > 100
    assert outside == set()


def test_request_bodies_share_no_mutable_defaults() -> None:
    first, second = SubmitJob(pipeline="noop"), SubmitJob(pipeline="noop")

    first.tags.append("mine")
    first.params["a"] = 1

    assert (second.tags, second.params) == ([], {})


def test_every_dependency_has_a_lower_and_an_upper_bound() -> None:
    optional = PROJECT["project"]["optional-dependencies"]
    requirements = [*PROJECT["project"]["dependencies"], *optional["shootout"], *optional["embedded"]]
    requirements += optional["otel"]

    assert [
        requirement for requirement in requirements if not re.search(r">=[\d.]+,<[\d.]+$", requirement)
    ] == []


def test_every_file_that_the_architecture_names_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"(?<![\w/.*>])((?:api|domain|adapters|workers|cli|tests)/[\w/]+\.py)\b", text))

    missing = [
        path for path in sorted(named) if not ((ROOT / "src" / path).exists() or (ROOT / path).exists())
    ]

    assert len(named) >= 60
    assert missing == []


def test_environment_files_stay_out_of_git_and_of_images() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    included = [line for line in lines if line.startswith("!")]

    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert "*" in lines
    assert [line for line in included if "env" in line] == ["!.env.example"]


def test_every_regression_test_describes_the_bug_and_the_expected_result() -> None:
    files = sorted((ROOT / "tests" / "regressions").glob("*.py"))
    tests = [
        node
        for path in files
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]

    assert tests
    assert [path.name for path in files if not re.fullmatch(r"test_\w+_\w+\.py", path.name)] == []
    for test in tests:
        docstring = ast.get_docstring(test) or ""
        assert docstring.startswith("Bug: "), test.name
        assert "\nExpected: " in docstring, test.name
