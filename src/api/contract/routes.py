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
from headrace.api.contract.openapi import contract_of, published_below
from headrace.api.dependencies import Services
from headrace.api.path_prefix import prefix_of

# A proxy that is trusted may still send many.
_MAX_PREFIXES: Final = 16
_WEB: Final = Path(__file__).parents[2] / "web"

OPENAPI: Final = OpenAPIConfig(
    # Generators name their package after it, and `headrace-client` is the name of ours.
    title="Headrace API",
    version="1",
    description="Jobs in steps: submit them, watch each one live, keep what they made. The sockets are"
    " described in [asyncapi.yaml]({prefix}/asyncapi.yaml).",
    # A separate path, because below it Litestar answers unknown paths without a problem body.
    path="/docs/contract",
    use_handler_docstrings=True,
    render_plugins=[JsonRenderPlugin(path="/openapi.json")],
)


@get("/docs", include_in_schema=False, sync_to_thread=False)
def show_docs(request: Request[Any, Any, Any]) -> Response[str]:
    """The page that shows the API."""
    page = (_WEB / "docs" / "index.html").read_text()
    return Response(page.replace("{prefix}", prefix_of(request.scope)), media_type="text/html")


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def show_contract(request: Request[Any, Any, Any], services: NamedDependency[Services]) -> Response[bytes]:
    """The OpenAPI document, encoded once per process and prefix."""
    state, prefix = request.app.state, prefix_of(request.scope)
    if "contract" not in state:
        state["contract"] = contract_of(request.app, allows_anonymous=services.settings.auth == "local")
        state["encoded_contracts"] = {}
    encoded: dict[str, bytes] = state["encoded_contracts"]
    if prefix not in encoded:
        if len(encoded) >= _MAX_PREFIXES:
            encoded.clear()
        encoded[prefix] = msgspec.json.encode(published_below(prefix, state["contract"]))
    return Response(encoded[prefix], media_type="application/json")


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
