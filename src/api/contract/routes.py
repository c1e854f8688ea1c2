"""/docs, /openapi.json and /asyncapi.yaml: the contract, served without requests to other hosts."""

from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.response import Redirect
from litestar.static_files import create_static_files_router

from headrace.api.contract.asyncapi import show_sockets
from headrace.api.contract.openapi import contract_of
from headrace.api.dependencies import Services

_WEB: Final = Path(__file__).parents[2] / "web"

OPENAPI: Final = OpenAPIConfig(
    # Generators name their package after it, and `headrace-client` is the name of ours.
    title="Headrace API",
    version="1",
    description="Jobs in steps: submit them, watch each one live, keep what they made. The sockets are"
    " described in [asyncapi.yaml](/asyncapi.yaml).",
    # A separate path, because below it Litestar answers unknown paths without a problem body.
    path="/docs/contract",
    use_handler_docstrings=True,
    render_plugins=[JsonRenderPlugin(path="/openapi.json")],
)


@get("/docs", include_in_schema=False, sync_to_thread=False)
def show_docs() -> Response[bytes]:
    """The page that shows the API."""
    return Response((_WEB / "docs" / "index.html").read_bytes(), media_type="text/html")


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def show_contract(request: Request[Any, Any, Any], services: NamedDependency[Services]) -> Response[bytes]:
    """The OpenAPI document, encoded once per process."""
    state = request.app.state
    if "contract" not in state:
        contract = contract_of(request.app, allows_anonymous=services.settings.auth == "local")
        state["contract"] = msgspec.json.encode(contract)
    return Response(state["contract"], media_type="application/json")


@get("/", include_in_schema=False, sync_to_thread=False)
def show_start() -> Redirect:
    """Redirect to the page of the API."""
    return Redirect("/docs")


def contract_routes() -> list[HTTPRouteHandler | Router]:
    """Return the pages, the documents and their assets."""
    return [
        show_start,
        show_docs,
        show_contract,
        show_sockets,
        create_static_files_router(
            path="/docs/assets", directories=[_WEB / "vendor" / "swagger-ui"], include_in_schema=False
        ),
        create_static_files_router(path="/docs/page", directories=[_WEB / "docs"], include_in_schema=False),
    ]
