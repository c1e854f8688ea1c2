"""Query parameters that a route does not have are refused, with the name that was probably meant."""

import asyncio
from typing import Any

import msgspec
from litestar.routes import HTTPRoute, WebSocketRoute

from headrace.app import create_app
from headrace.settings import Settings
from support.every_route import PUBLIC_PATHS, routes
from support.harness import Api
from support.patience import PATIENCE_SECONDS, open_socket
from support.shared_api import problem

NOBODY = "00000000-0000-0000-0000-000000000000"


async def test_a_misspelt_filter_is_refused_with_the_nearest_name(api: Api) -> None:
    body = problem(await api.http.get("/api/v1/jobs?stat=failed"), 422, "validation_failed")

    assert body["errors"] == [
        {"path": "query.stat", "message": "there is no query parameter 'stat'; did you mean 'state'?"}
    ]


async def test_all_faults_of_a_query_are_in_one_answer(api: Api) -> None:
    response = await api.http.get("/api/v1/jobs?stat=failed&limit=0&zzz=1&zzz=2&state=queued&state=running")

    errors = problem(response, 422, "validation_failed")["errors"]
    assert [error["path"] for error in errors] == ["query.stat", "query.zzz", "query.limit"]
    assert "there are after, created_after, created_before" in errors[1]["message"]


async def test_every_route_refuses_an_unknown_parameter(root: Api) -> None:
    ids = {"name": "noop", "tone_id": "1", "provider": "github"}
    for route in routes():
        if route.method == "WS":
            continue
        path = route.at(dict.fromkeys(route.parameters, NOBODY) | ids)
        response = await root.http.request(route.method, f"{path}?bogus=1")
        assert (response.status_code, response.json()["code"]) == (422, "validation_failed"), str(route)
        assert [error["path"] for error in response.json()["errors"]] == ["query.bogus"], str(route)
    for path in (*PUBLIC_PATHS, "/auth/login/github"):
        response = await root.http.get(f"{path}?bogus=1")
        assert response.status_code == 422, path


async def test_the_callback_of_a_provider_takes_what_the_provider_adds(api: Api) -> None:
    response = await api.http.get("/auth/callback/github?code=a&state=b&iss=https://github.com&authuser=0")

    assert response.status_code == 404


async def test_sockets_name_the_unknown_parameter_and_close(api: Api) -> None:
    for path, near in ((f"jobs/{NOBODY}/ws?aftr=3", "after"), ("ws?pipelin=noop", "pipeline")):
        async with asyncio.timeout(PATIENCE_SECONDS), open_socket(f"{api.ws}/api/v1/{path}") as socket:
            frame: dict[str, Any] = msgspec.json.decode(await socket.recv())
            await socket.wait_closed()
        assert (frame["code"], socket.close_code) == ("validation_failed", 4400)
        assert f"did you mean '{near}'?" in frame["message"]


async def test_a_job_token_in_the_query_is_known_where_it_is_accepted(api: Api) -> None:
    job = await api.submit("noop", run_at="2100-01-01T00:00:00Z")
    token = (await api.http.post(f"/api/v1/jobs/{job['id']}/tokens", json={})).json()["token"]

    assert (await api.http.get(f"/api/v1/jobs/{job['id']}?token={token}")).status_code == 200
    problem(await api.http.get(f"/api/v1/pipelines?token={token}"), 422, "validation_failed")


def test_every_handler_has_a_list_of_its_parameters() -> None:
    handlers: list[Any] = []
    for route in create_app(Settings(database_url="postgresql://nowhere/x")).routes:
        if isinstance(route, HTTPRoute):
            handlers += route.route_handlers
        elif isinstance(route, WebSocketRoute):
            handlers.append(route.route_handler)

    assert len(handlers) > 60
    assert all("query" in handler.opt for handler in handlers)


async def test_all_of_many_long_names_are_listed_and_clipped(api: Api) -> None:
    query = "&".join(f"{'x' * 70}{number}=1" for number in range(99))

    errors = problem(await api.http.get(f"/api/v1/jobs?{query}"), 422, "validation_failed")["errors"]
    assert len(errors) == 99
    assert all(len(error["path"]) <= 80 for error in errors)
