"""How long things are kept: texts, defaults, and the terms of pipelines."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from headrace import Pipeline, PipelineDefinitionError, StepContext, step, task
from headrace.domain.pipelines.registration import Registered, next_step
from headrace.domain.pipelines.stored_definition import StoredDefinition, breaking_changes
from headrace.domain.retention.terms import (
    FOREVER,
    ChosenTerms,
    RetentionTerms,
    format_term,
    horizon,
    parse_term,
    read_pipeline_terms,
    store_pipeline_terms,
)
from headrace.settings import Settings, SettingsError, read_settings

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("30d", timedelta(days=30)),
        ("1y", timedelta(days=365)),
        ("2w", timedelta(days=14)),
        ("12h", timedelta(hours=12)),
        ("60s", timedelta(minutes=1)),
        ("100y", timedelta(days=36_500)),
        ("forever", FOREVER),
    ],
)
def test_a_term_is_a_number_with_a_unit_or_forever(text: str, term: timedelta) -> None:
    assert parse_term(text) == term
    assert parse_term(format_term(term)) == term


@pytest.mark.parametrize("text", ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "30D", "1mo", "٣d", "Forever"])
def test_other_texts_are_no_terms(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time such as 30d, 12h or 1y, or forever"):
        parse_term(text)


@pytest.mark.parametrize("text", ["59s", "101y", "9999999999y"])
def test_terms_are_neither_too_short_nor_too_long(text: str) -> None:
    with pytest.raises(ValueError, match="expected at least 1m and at most 100y, or forever"):
        parse_term(text)


def test_terms_are_shown_in_the_largest_unit_that_fits() -> None:
    terms = (timedelta(days=365), timedelta(days=14), timedelta(hours=36), timedelta(seconds=90))

    assert [format_term(term) for term in (*terms, FOREVER, timedelta(0))] == [
        *("1y", "14d", "36h", "90s", "forever", "0s")
    ]


def test_nothing_is_past_a_term_without_end() -> None:
    assert horizon(NOW, FOREVER) is None
    assert horizon(NOW, timedelta(days=1)) == datetime(2029, 12, 31, tzinfo=UTC)


def test_new_installations_have_defaults_and_upgraded_ones_keep_what_is_not_set() -> None:
    chosen = ChosenTerms(failed=timedelta(days=2))

    assert chosen.resolve(keeps_everything=False) == RetentionTerms(failed=timedelta(days=2))
    assert chosen.resolve(keeps_everything=True) == RetentionTerms(
        succeeded=FOREVER, failed=timedelta(days=2), cancelled=FOREVER, files=FOREVER, audit=FOREVER
    )


def test_settings_name_the_terms() -> None:
    settings = read_settings({"HEADRACE_KEEP_SUCCEEDED": "2h", "HEADRACE_KEEP_AUDIT": "forever"})

    assert settings.kept == ChosenTerms(succeeded=timedelta(hours=2), audit=FOREVER)
    assert Settings().kept == ChosenTerms()


def test_a_setting_that_is_no_term_stops_the_start() -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({"HEADRACE_KEEP_FILES": "7"})

    assert str(refused.value) == (
        "HEADRACE_KEEP_FILES: expected a time such as 30d, 12h or 1y, or forever, not '7'"
    )


@step
async def work(context: StepContext[Any]) -> None: ...


def pipeline(keep: Any = None) -> Pipeline:
    built = Pipeline("short_lived", params=dict, keep=keep)
    built.add(work)
    return built


def test_a_pipeline_stores_how_long_its_jobs_are_kept() -> None:
    keep = {"succeeded": timedelta(hours=2), "failed": "forever"}

    stored = StoredDefinition.of(pipeline(keep)).keep

    assert stored == {"succeeded": 7200.0, "failed": "forever"}
    assert read_pipeline_terms(stored) == {"succeeded": timedelta(hours=2), "failed": FOREVER}
    assert StoredDefinition.of(pipeline()).keep is None
    assert read_pipeline_terms(None) == {}


@pytest.mark.parametrize(
    ("keep", "reason"),
    [
        ({"running": timedelta(days=1)}, "keep has the states succeeded, failed, cancelled, not 'running'"),
        ({"failed": timedelta(0)}, "keep['failed'] is a timedelta of at least a minute"),
        ({"failed": 7200}, "keep['failed'] is a timedelta of at least a minute"),
        ({"failed": "30d"}, "or 'forever', not '30d'"),
    ],
)
def test_a_pipeline_with_malformed_terms_is_refused(keep: Any, reason: str) -> None:
    with pytest.raises(ValueError, match="keep"):
        store_pipeline_terms(keep)
    with pytest.raises(PipelineDefinitionError) as refused:
        pipeline(keep)

    assert str(refused.value).startswith("pipeline 'short_lived': ")
    assert reason in str(refused.value)


def test_a_task_has_terms_as_well() -> None:
    @task(keep={"succeeded": timedelta(hours=1)})
    def add(a: int, b: int) -> int:
        return a + b

    assert add.keep == {"succeeded": 3600.0}


def test_changing_the_terms_needs_no_new_version_and_replaces_the_registered_definition() -> None:
    old = StoredDefinition.of(pipeline({"succeeded": timedelta(hours=2)}))
    new = StoredDefinition.of(pipeline({"succeeded": timedelta(hours=3)}))
    row = Registered(definition=old, updated_at=NOW, superseded=[], is_confirmed=True, is_bound=True)

    def decide(own: StoredDefinition) -> str:
        return next_step(("short_lived", 1), row, own, may_replace=False, is_start=True)

    assert breaking_changes(old, new) == []
    assert (decide(old), decide(new)) == ("confirm", "replace")
    replaced = msgspec.structs.replace(row, definition=new, superseded=[old.digest])
    assert next_step(("short_lived", 1), replaced, old, may_replace=False, is_start=True) == "keep"


def test_a_pipeline_without_terms_has_the_digest_of_earlier_releases() -> None:
    bare = StoredDefinition.of(pipeline())

    assert bare.digest == msgspec.structs.replace(bare, keep=None).digest
    assert bare.digest != StoredDefinition.of(pipeline({"failed": "forever"})).digest
