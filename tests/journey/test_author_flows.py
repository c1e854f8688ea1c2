"""Models of pydantic and tasks, from a submission to the result, in every kind of step."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.settings import Settings
from headrace_client import AsyncClient
from support.harness import Api

FLOWS = Path(__file__).parent / "flows" / "author_flows.py"
SHAPES = [
    {"kind": "square", "side": 2},
    {"kind": "circle", "radius": "1.5"},
    {"kind": "square", "side": 3},
]


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return msgspec.structs.replace(module_settings, pipelines=(str(FLOWS),))


async def test_models_go_through_every_kind_of_step(service: Api) -> None:
    job = await service.submit("drawings", params={"shapes": SHAPES, "drawingTitle": "my"})
    done = await service.finish(job["id"])
    steps = (await service.http.get(f"/api/v1/jobs/{job['id']}/steps")).json()["items"]

    assert done["state"] == "succeeded", done["error"]
    assert done["result"] == ["my square", "my square", "my circle"]
    outputs = {step["name"]: step["output"] for step in steps if step["index"] is None}
    assert outputs["collect"] == {
        "first": {"kind": "circle", "radius": "1.5"},
        "squares": {"4": {"kind": "square", "side": 4}, "6": {"kind": "square", "side": 6}},
    }


async def test_the_pipeline_has_the_schemas_of_pydantic(service: Api) -> None:
    shown = (await service.http.get("/api/v1/pipelines/drawings")).json()
    definitions = shown["params_schema"]["$defs"]
    assert definitions["Drawing"]["properties"]["shapes"]["items"]["discriminator"]["propertyName"] == "kind"
    assert definitions["Drawing"]["properties"]["drawingTitle"]["default"] is None
    assert shown["result_schema"]["$defs"]["Names"]["items"] == {"type": "string"}


@pytest.mark.parametrize(
    ("params", "path", "message"),
    [
        (
            {"shapes": [{"kind": "square", "side": "x"}]},
            ".shapes[0].side",
            '"x" is not of type "integer"',
        ),
        (
            {"shapes": [{"kind": "cone"}]},
            ".shapes[0].kind",
            '"cone" is not one of "circle", "square"',
        ),
        ({}, "", '"shapes" is a required property'),
    ],
)
async def test_a_submission_that_does_not_fit_is_refused_with_the_path(
    service: Api, params: dict[str, Any], path: str, message: str
) -> None:
    refused = await service.http.post("/api/v1/jobs", json={"pipeline": "drawings", "params": params})
    assert refused.status_code == 422
    faults = [(fault["path"], fault["message"]) for fault in refused.json()["errors"]]
    assert faults == [("$.params" + path, message)]


@pytest.mark.parametrize(
    ("bad_step", "key", "message"),
    [
        (
            "draw",
            "draw[0]",
            "the output of step 'draw[0]' is not what its annotation says: Input should be a valid integer,"
            " unable to parse string as an integer, got `str` - at `$.side`",
        ),
        (
            "collect",
            "collect",
            "the output of step 'collect' is not what its annotation says: Input should be a valid integer,"
            " unable to parse string as an integer, got `str` - at `$.squares[...].side`",
        ),
        (
            "choose",
            "choose",
            "the output of step 'choose' is not what its annotation says: Input should be a valid array,"
            " got `object`",
        ),
    ],
)
async def test_a_wrong_output_fails_with_its_step_item_place_and_type(
    service: Api, bad_step: str, key: str, message: str
) -> None:
    job = await service.submit("drawings", params={"shapes": SHAPES[:2], "bad_step": bad_step})
    done = await service.finish(job["id"])
    assert done["error"] == {"code": "output_mismatch", "message": message, "step": key}


async def test_what_only_pydantic_refuses_fails_the_job_with_its_place(service: Api) -> None:
    job = await service.submit("drawings", params={"shapes": [{"kind": "circle", "radius": "-1"}]})
    done = await service.finish(job["id"])
    assert done["error"]["code"] == "params_invalid"
    assert done["error"]["message"] == "Input should be greater than 0 - at `$.shapes[0].radius`"


async def test_tasks_take_params_and_return_results_in_every_kind_of_step(service: Api) -> None:
    async with AsyncClient(str(service.http.base_url)) as client:
        jobs = [
            await client.submit("resize", {"width": 3}),
            await client.submit("scale", {"shape": {"kind": "square", "side": 2}}),
            await client.submit("measure_words", {"words": ["one", "three"]}),
        ]
        done = [await client.wait(job.id, timeout=120) for job in jobs]

    assert [job.result for job in done] == ["3x3", {"kind": "square", "side": 4}, {"one": 3, "three": 5}]
    assert [job.version for job in done] == [1, 1, 2]


async def test_an_argument_that_a_task_does_not_have_is_refused(service: Api) -> None:
    refused = await service.http.post(
        "/api/v1/jobs", json={"pipeline": "resize", "params": {"width": "3", "depth": 1}}
    )
    faults = {fault["path"]: fault["message"] for fault in refused.json()["errors"]}
    assert refused.status_code == 422
    assert faults["$.params.width"] == '"3" is not of type "integer"'
    assert faults["$.params.depth"].startswith('there is no field "depth"')
