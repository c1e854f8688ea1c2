"""The OpenAPI document shows a newcomer what to do: in order, described, and with examples that succeed."""

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.api.contract.operations import SUMMARIES, TAGS
from support.harness import Api
from support.patience import PATIENCE_SECONDS

WEB = Path(__file__).parents[2] / "src" / "web" / "docs"
NODE = shutil.which("node")
# These need more than a service that has just been started on one machine.
IMPOSSIBLE = {
    "deletePipeline": "a live worker serves it",
    "listUsers": "local mode has no admin",
    "getUser": "local mode has no admin",
    "patchUser": "local mode has no admin",
    "deleteUser": "local mode has no admin",
    "endSessions": "local mode has no admin",
    "listAudit": "local mode has no admin",
    "getTone": "needs an account at tone3000.com",
    "signIn": "needs a provider",
    "finishSignIn": "needs a provider",
    "refreshSession": "needs a provider",
    "signOut": "needs a provider",
}
LAST = re.compile("delete|revoke")
# Which example of submitJob makes a job that the operation accepts.
JOBS_FOR = {"cancelJob": 1, "retryJob": 2, "deleteJob": 1, "revokeJobTokens": 1}


@pytest.fixture
async def contract(api: Api) -> dict[str, Any]:
    document: dict[str, Any] = (await api.http.get("/openapi.json")).json()
    return document


def operations(contract: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in contract["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def bodies_of(operation: dict[str, Any]) -> list[Any]:
    """Return the examples of the body; without a body, None."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if "examples" in content:
            return [example["value"] for example in content["examples"].values()]
    return [None]


async def test_every_example_succeeds_as_it_is(service: Api, contract: dict[str, Any]) -> None:
    listed = [item for item in operations(contract) if item[2]["operationId"] not in IMPOSSIBLE]
    submit = bodies_of(contract["paths"]["/api/v1/jobs"]["post"])
    ids: dict[str, str] = {}
    tried = set()
    for path, method, operation in sorted(listed, key=lambda item: bool(LAST.match(item[2]["operationId"]))):
        name = operation["operationId"]
        if name in JOBS_FOR:
            ids["job_id"] = (await service.http.post("/api/v1/jobs", json=submit[JOBS_FOR[name]])).json()[
                "id"
            ]
        if name == "retryJob":
            assert (await service.finish(ids["job_id"]))["state"] == "failed"
        if name == "deleteJob":
            await service.http.post(f"/api/v1/jobs/{ids['job_id']}/cancel")
        for body in bodies_of(operation):
            response = await request(service, method, path, operation, ids, body)
            assert response.is_success, (name, body, response.text)
            remember(ids, path, response)
        tried.add(name)

    assert tried | set(IMPOSSIBLE) == {operation["operationId"] for *_, operation in operations(contract)}


async def request(
    api: Api, method: str, path: str, operation: dict[str, Any], ids: dict[str, str], body: Any
) -> httpx.Response:
    """Send what the page of the API sends when its fields are left as they are."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            value = str(parameter.get("example", ids.get(parameter["name"])))
            path = path.replace(f"{{{parameter['name']}}}", value)
    content = operation.get("requestBody", {}).get("content", {})
    files = {"file": ("a.txt", b"a text")} if "multipart/form-data" in content else None
    query = {
        parameter["name"]: parameter.get("example", parameter["schema"].get("default"))
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    }
    params = {name: value for name, value in query.items() if value is not None}
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await api.http.request(method, path, json=body, files=files, params=params)


def remember(ids: dict[str, str], path: str, response: httpx.Response) -> None:
    """Keep the id of a new object for the operations that follow."""
    kind = path.removeprefix("/api/v1/").replace("api-keys", "keys").partition("/")[0].removesuffix("s")
    if response.status_code in (201, 202) and "id" in response.json():
        job_id = ids.get("job_id")
        ids[f"{kind}_id"] = response.json()["id"]
        if path.endswith("/presets/{preset_id}/jobs") and job_id is not None:
            ids["preset_id"] = response.json()["preset_id"]


async def test_operations_are_in_the_order_of_use_with_a_summary_and_a_description(
    contract: dict[str, Any],
) -> None:
    names = [operation["operationId"] for *_, operation in operations(contract)]
    assert set(names) == set(SUMMARIES)
    assert names[0] == "submitJob"
    assert names.index("getJob") < names.index("streamJob") < names.index("cancelJob")
    assert [tag["name"] for tag in contract["tags"]] == list(TAGS)
    for *_, operation in operations(contract):
        assert operation["summary"] == SUMMARIES[operation["operationId"]]
        assert len(operation["description"]) > 5, operation["operationId"]
        assert set(operation["tags"]) <= set(TAGS)


async def test_every_field_and_every_parameter_is_described(contract: dict[str, Any]) -> None:
    for name, schema in contract["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            assert described.get("description"), f"{name}.{field}: describe it in contract/descriptions.py"
    for *_, operation in operations(contract):
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), f"{operation['operationId']}: {parameter['name']}"


@pytest.mark.skipif(NODE is None, reason="node is not installed")
async def test_the_page_adds_the_pipelines_with_jobs_that_can_be_submitted(
    service: Api, contract: dict[str, Any], tmp_path: Path
) -> None:
    pipelines = (await service.http.get("/api/v1/pipelines")).json()["items"]
    nested = {
        "$ref": "#/$defs/P",
        "$defs": {"P": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
    }
    invented = {"name": "invented", "description": "", "params_schema": nested}

    completed = await run_in_node(tmp_path, contract, [*pipelines, invented])

    schemas = completed["components"]["schemas"]
    assert {f"params.{pipeline['name']}" for pipeline in pipelines} <= set(schemas)
    assert schemas["params.invented"]["$ref"] == "#/components/schemas/params.invented/$defs/P"
    examples = bodies_of(completed["paths"]["/api/v1/jobs"]["post"])
    assert examples[-1] == {"pipeline": "invented", "params": {"n": 1}}
    assert examples[: -len(pipelines) - 1] == bodies_of(contract["paths"]["/api/v1/jobs"]["post"])
    for example in examples[:-1]:
        if example["pipeline"] != "shootout":
            response = await service.http.post("/api/v1/jobs", json=example)
            assert response.status_code == 202, response.text
    shown = completed["paths"]["/api/v1/jobs/{job_id}"]["get"]["parameters"]
    assert [parameter["example"] for parameter in shown if parameter["name"] == "job_id"] == ["the newest"]


async def run_in_node(folder: Path, contract: dict[str, Any], pipelines: list[Any]) -> dict[str, Any]:
    """Complete the contract with the code of the page."""
    shutil.copy(WEB / "contract.js", folder / "contract.mjs")
    (folder / "run.mjs").write_text(
        'import { withIds, withPipelines } from "./contract.mjs";\n'
        'import { readFileSync } from "node:fs";\n'
        "const [contract, pipelines] = JSON.parse(readFileSync(0));\n"
        'const completed = withIds(withPipelines(contract, pipelines), { job_id: "the newest" });\n'
        "process.stdout.write(JSON.stringify(completed));\n"
    )
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        str(folder / "run.mjs"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(
        process.communicate(json.dumps([contract, pipelines]).encode()), PATIENCE_SECONDS
    )
    completed: dict[str, Any] = json.loads(output)
    return completed
