"""Registering pipelines in PostgreSQL: new, changed, refused, older than the registered, removed."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct
from structlog.testing import capture_logs

from headrace import Pipeline, StepContext, step
from headrace.adapters.database import StatementPool
from headrace.domain.pipelines.registration import PipelineChangedError
from headrace.domain.pipelines.registry import Registrar
from headrace.settings import Settings
from headrace.workers.main import open_worker

MODULE = """
from msgspec import Struct
from headrace import Pipeline, StepContext, step

class Params(Struct):
    many: {kind} = 1

@step
async def only(context: StepContext[Params]) -> int:
    return 1

class Fixed(Struct):
    pass

mended = Pipeline("mended", params=Params, description={description!r})
mended.add(only, result=True)
whole = Pipeline("whole", params=Fixed)
whole.add(only, result=True)
"""


class Params(Struct):
    many: int = 1


class WiderParams(Struct):
    many: int = 1
    more: int | None = None


@step
async def only(context: StepContext[Params]) -> int:
    return 1


@step
async def texts(context: StepContext[Params]) -> str:
    return "1"


def registrar(
    database: StatementPool,
    description: str,
    *,
    params: Any = Params,
    run: Any = only,
    may_replace: bool = False,
) -> Registrar:
    pipeline = Pipeline("pipe", params=params, description=description)
    pipeline.add(run, name="only")
    return Registrar(database, [pipeline], may_replace=may_replace)


async def description(database: StatementPool) -> str:
    (row,) = await database.fetch("SELECT description FROM pipelines WHERE name = 'pipe'")
    return str(row["description"])


async def abandon(database: StatementPool) -> None:
    """Pretend that the last confirmation was ten minutes ago."""
    await database.fetch("UPDATE pipelines SET confirmed_at = confirmed_at - interval '10 minutes'")


async def test_a_new_version_is_stored_with_its_types(database: StatementPool) -> None:
    assert await registrar(database, "one").register() == []

    (row,) = await database.fetch(
        "SELECT version, description, graph::text AS graph, types::text AS types FROM pipelines"
    )
    assert (row["version"], row["description"]) == (1, "one")
    assert [node["name"] for node in msgspec.json.decode(row["graph"])] == ["only"]
    assert msgspec.json.decode(row["types"]) == {
        "only": {"output": {"type": "integer"}},
        "$detailed": {"meta": {}},
    }


async def test_a_mended_description_is_taken_over(database: StatementPool) -> None:
    await registrar(database, "tpyo").register()

    assert await registrar(database, "typo").register() == []
    assert await description(database) == "typo"


async def test_a_changed_output_is_refused_and_the_registered_definition_stays(
    database: StatementPool,
) -> None:
    await registrar(database, "one").register()

    changed = registrar(database, "two", run=texts)
    found = await changed.find_refusals()
    refused = await changed.register()

    assert [
        isinstance(refusal, PipelineChangedError) and refusal.changes for refusal in (*found, *refused)
    ] == [["$.steps.only.output: was integer, is string"]] * 2
    assert await description(database) == "one"
    await abandon(database)
    assert await changed.confirm() == 0
    assert await description(database) == "one"


async def test_an_older_worker_that_restarts_does_not_bring_its_definition_back(
    database: StatementPool,
) -> None:
    old, new = registrar(database, "old"), registrar(database, "new", params=WiderParams)
    await old.register()
    await new.register()
    texts_seen = []
    for again in (old, new, old):
        await again.confirm()
        texts_seen.append(await description(database))
        assert await registrar(database, "old").register() == []
        texts_seen.append(await description(database))

    assert texts_seen == ["new"] * 6


async def test_after_a_rollback_the_older_definition_is_registered_again_once(
    database: StatementPool,
) -> None:
    old, new = registrar(database, "old"), registrar(database, "new")
    await old.register()
    await new.register()
    await abandon(database)

    await old.confirm()
    after_rollback = await description(database)
    await new.confirm()

    assert (after_rollback, await description(database)) == ("old", "old")


async def test_local_mode_takes_over_any_change_at_the_start(database: StatementPool) -> None:
    await registrar(database, "one").register()
    changed = registrar(database, "two", run=texts, may_replace=True)

    assert await changed.register() == []
    assert await description(database) == "two"
    await registrar(database, "one", may_replace=True).register()
    await changed.confirm()
    assert await description(database) == "one"


async def test_a_row_of_an_older_release_gets_its_types(database: StatementPool) -> None:
    await registrar(database, "one").register()
    await database.fetch("UPDATE pipelines SET types = NULL")

    await registrar(database, "one").register()

    (row,) = await database.fetch("SELECT types IS NOT NULL AS has_types, superseded FROM pipelines")
    assert (row["has_types"], row["superseded"]) == (True, [])


async def test_a_worker_confirms_what_it_serves_and_brings_back_what_was_removed(
    database: StatementPool,
) -> None:
    serving = registrar(database, "one")
    await serving.register()
    await abandon(database)
    await database.fetch("UPDATE pipelines SET removed_at = statement_timestamp()")

    await serving.confirm()

    (row,) = await database.fetch(
        "SELECT removed_at, confirmed_at > statement_timestamp() - interval '1 minute' AS is_confirmed"
        " FROM pipelines"
    )
    assert (row["removed_at"], row["is_confirmed"]) == (None, True)


async def test_a_deleted_row_is_inserted_again(database: StatementPool) -> None:
    serving = registrar(database, "one")
    await serving.register()
    await database.fetch("DELETE FROM pipelines")

    await serving.confirm()

    assert await description(database) == "one"


@pytest.fixture
def production(settings: Settings, tmp_path: Path) -> Settings:
    module = tmp_path / "mended_pipelines.py"
    return msgspec.structs.replace(settings, env="production", pipelines=(str(module),))


async def served_by_worker(settings: Settings, kind: str, description: str) -> tuple[set[str], list[str]]:
    """Start a worker on the module; return which of its pipelines it serves, and why it refuses others."""
    folder = Path(settings.pipelines[0]).parent / kind
    folder.mkdir(exist_ok=True)
    module = folder / f"pipelines_{len(list(folder.iterdir()))}.py"
    module.write_text(MODULE.format(kind=kind, description=description))
    with capture_logs() as logs:
        async with open_worker(
            msgspec.structs.replace(settings, pipelines=(str(module),)), ("nobody",), 1
        ) as running:
            served = set(running.job_queue.worker.pipelines)
    refused = [log["reason"] for log in logs if log["event"] == "pipeline_refused"]
    return served & {"mended@1", "whole@1"}, refused


async def test_one_refused_pipeline_does_not_keep_a_worker_from_serving_the_others(
    production: Settings, database: StatementPool
) -> None:
    first = await served_by_worker(production, "int", "tpyo")
    mended = await served_by_worker(production, "int", "typo")
    broken = await served_by_worker(production, "float", "typo")

    assert first == mended == ({"mended@1", "whole@1"}, [])
    assert broken == (
        {"whole@1"},
        [
            "pipeline 'mended' version 1 differs from the registered one in what its jobs depend on; raise"
            " its version: $.params.many: was integer, is number"
        ],
    )
    (row,) = await database.fetch("SELECT description FROM pipelines WHERE name = 'mended'")
    assert row["description"] == "typo"


class Separated(Struct):
    separator: str = "\0"


class Pronounced(Struct):
    letter: Literal["a\0", "b"] = "b"


class Halved(Struct):
    pair: str = "\ud800"


class Endless(Struct):
    count: Annotated[int, Meta(examples=[10**5_000])] = 0


@step
async def explained(context: StepContext[Params]) -> Annotated[int, Meta(description="\0")]:
    return 1


@pytest.mark.parametrize(
    ("unstorable", "reason"),
    [
        ({"params": Separated}, "a text holds the character NUL - at `$.params_schema."),
        ({"params": Pronounced}, "a text holds the character NUL - at `$.params_schema."),
        ({"params": Halved}, "surrogates"),
        ({"params": Endless}, "4300 digits"),
        ({"run": explained}, "a text holds the character NUL - at `$.types.only.output.description`"),
        ({"description": "\0"}, "a text holds the character NUL - at `$.description`"),
    ],
)
async def test_a_pipeline_that_cannot_be_stored_is_refused_and_the_others_are_registered(
    database: StatementPool, unstorable: dict[str, Any], reason: str
) -> None:
    given: dict[str, Any] = {"params": Params, "run": only, "description": ""} | unstorable
    bad = Pipeline("bad", params=given["params"], description=given["description"])
    bad.add(given["run"], name="only")
    good = Pipeline("good", params=Params)
    good.add(only)
    both = Registrar(database, [bad, good], may_replace=False)

    for refusals in (await both.find_refusals(), await both.register()):
        (refusal,) = refusals
        assert str(refusal).startswith("pipeline 'bad' version 1 cannot be stored: ")
        assert reason in str(refusal)
    assert await both.confirm() == 0
    assert [row["name"] for row in await database.fetch("SELECT name FROM pipelines")] == ["good"]


Wide = Annotated[float, Meta(ge=-1e300, le=1.5e30)]


class Limited(Struct):
    wide: Annotated[float, Meta(ge=-1e300, le=1e30)] = 1e22
    above: Annotated[float, Meta(gt=-0.0)] = 1.0
    close: Annotated[float, Meta(multiple_of=1e-7, examples=[1e16, 5e-324, -0.0])] = 0
    whole: Annotated[int, Meta(le=2**62)] = 0


@step
async def measured(context: StepContext[Params]) -> list[Wide]:
    return []


@step
async def noted(
    context: StepContext[Params],
) -> Annotated[int, Meta(extra_json_schema={"x": 1e30, "y": [-0.0, 1e-30]})]:
    return 1


@pytest.mark.parametrize("run", [measured, noted])
async def test_an_unchanged_pipeline_with_any_number_in_its_schemas_is_registered_once(
    database: StatementPool, run: Any
) -> None:
    stored = []
    for _ in range(3):
        assert await registrar(database, "one", params=Limited, run=run).register() == []
        (row,) = await database.fetch("SELECT updated_at, superseded FROM pipelines")
        stored.append((row["updated_at"], row["superseded"]))

    assert stored == [stored[0]] * 3


async def test_a_changed_limit_above_the_precision_of_floats_is_refused(database: StatementPool) -> None:
    def limited(maximum: float) -> Any:
        @step
        async def only(context: StepContext[Params]) -> Any:
            return 1

        only.function.__annotations__["return"] = Annotated[float, Meta(le=maximum)]
        return only

    await registrar(database, "one", run=limited(1e30)).register()

    (refusal,) = await registrar(database, "one", run=limited(1e31)).register()

    assert "$.steps.only.output" in str(refusal)
