"""GraphQL reads the JSON values that a query selects, and at most 8 MiB of them."""

import re
from typing import Any, Final

import msgspec
import pytest

from support.harness import Api
from support.shared_api import SharedApi, counted

LONG: Final = {"a": "x" * 100_000}
WITH_JSON: Final = {
    "params": "{ jobs { id params } }",
    "meta": "{ jobs { ...some } } fragment some on Job { meta }",
    "result": "{ jobs { result } }",
    "output": "{ jobs { steps(limit: 2) { name output } } }",
}


async def ask(ada: Api, query: str) -> dict[str, Any]:
    response = await ada.http.post("/graphql", json={"query": query})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def columns_in(statements: list[str]) -> set[str]:
    """Return the columns with values of users, or with schemas, that *statements* read."""
    pattern = (
        r"\b(?:jobs\.(?:params|meta|result)|step_runs\.output|files\.meta|presets\.params|\w+\.\w+_schema)\b"
    )
    return set(re.findall(pattern, " ".join(statements)))


async def submit(ada: Api, count: int, **fields: Any) -> list[str]:
    jobs = [{"pipeline": "ticks", **fields}] * count
    response = await ada.http.post("/api/v1/jobs/batch", json={"jobs": jobs})
    assert response.status_code == 202, response.text
    return [job["id"] for job in response.json()["items"]]


@pytest.mark.parametrize("value", WITH_JSON)
async def test_a_query_reads_only_the_json_that_it_selects(ada: Api, value: str) -> None:
    await submit(ada, 1)

    with counted(ada) as without:
        await ask(ada, "{ jobs { id state steps { name } } presets { title } }")
        await ask(ada, "{ jobs { id pipeline { name } files { name } steps { state } } presets { title } }")
    with counted(ada) as statements:
        assert "errors" not in await ask(ada, WITH_JSON[value])

    assert columns_in(without) == set()
    # A large result is the output of a step.
    assert columns_in(statements) == {
        "output": {"step_runs.output"},
        "result": {"jobs.result", "step_runs.output"},
    }.get(value, {f"jobs.{value}"})


async def test_values_of_eight_mebibytes_are_sent_and_the_rest_is_refused(
    ada: Api, shared_api: SharedApi
) -> None:
    ids = await submit(ada, 100)
    await shared_api.database.fetch(
        "UPDATE jobs SET result = $2::text::json WHERE id = ANY($1::uuid[])",
        *(ids, msgspec.json.encode(LONG).decode()),
    )

    answer = await ask(ada, "{ jobs(limit: 100) { id result } }")

    results = [job["result"] for job in answer["data"]["jobs"]]
    sent = results.count(LONG)
    assert results == [LONG] * sent + [None] * (100 - sent)
    assert 80 < sent < 84
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"response_too_large"}
    assert [error["path"] for error in answer["errors"]] == [
        ["jobs", place, "result"] for place in range(sent, 100)
    ]


async def test_all_lists_of_a_query_share_the_eight_mebibytes(ada: Api, shared_api: SharedApi) -> None:
    ids = await submit(ada, 60)
    await shared_api.database.fetch(
        "UPDATE jobs SET params = $2::text::json, meta = $2::text::json WHERE id = ANY($1::uuid[])",
        *(ids, msgspec.json.encode(LONG).decode()),
    )
    half = "jobs(limit: 60) { params }"

    fits = await ask(ada, f"{{ {half} }}")
    twice = await ask(ada, f"{{ a: {half} b: {half} }}")

    assert "errors" not in fits
    assert len(fits["data"]["jobs"]) == 60
    # Neither a job nor its list may be null, so nothing is left of the answer.
    assert twice["data"] is None
    assert twice["errors"][0]["extensions"]["code"] == "response_too_large"


async def test_one_value_is_sent_whatever_its_size(ada: Api, shared_api: SharedApi) -> None:
    (job_id,) = await submit(ada, 1)
    large = {"a": "x" * 9_000_000}
    await shared_api.database.fetch(
        "UPDATE jobs SET result = $2::text::json WHERE id = $1::text::uuid",
        *(job_id, msgspec.json.encode(large).decode()),
    )

    answer = await ask(ada, f'{{ job(id: "{job_id}") {{ result }} }}')

    assert answer == {"data": {"job": {"result": large}}}


async def test_schemas_of_pipelines_are_sent_up_to_eight_mebibytes(
    ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(ada, 3)
    query = "{ jobs { pipeline { paramsSchema resultSchema } } }"

    whole = await ask(ada, query)
    monkeypatch.setattr("headrace.api.graphql.loaders.MAX_LISTED_BYTES", 400)
    cut = await ask(ada, query)

    assert "errors" not in whole
    assert whole["data"]["jobs"][0]["pipeline"]["paramsSchema"]
    assert cut["data"]["jobs"][-1]["pipeline"] is None
    assert {error["extensions"]["code"] for error in cut["errors"]} == {"response_too_large"}


async def test_schemas_of_a_page_take_one_statement(ada: Api) -> None:
    await submit(ada, 3)

    with counted(ada) as statements:
        await ask(ada, "{ jobs { pipeline { name paramsSchema resultSchema } } }")

    assert len(statements) == 3
