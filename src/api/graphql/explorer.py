"""/graphql/explore: GraphiQL, served without requests to other hosts."""

from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.static_files import create_static_files_router

from headrace.api.path_prefix import prefix_of

_WEB: Final = Path(__file__).parents[2] / "web"
# GraphiQL's style sheet contains its icons as `data:` URLs.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@get("/graphql/explore", include_in_schema=False, sync_to_thread=False)
def show_explorer(request: Request[Any, Any, Any]) -> Response[str]:
    """The page of the explorer."""
    page = (_WEB / "graphql" / "index.html").read_text()
    return Response(
        page.replace("{prefix}", prefix_of(request.scope)),
        media_type="text/html",
        headers={"Content-Security-Policy": _POLICY},
    )


def explorer_routes() -> list[HTTPRouteHandler | Router]:
    """Return the page and its assets. They are public, since they contain no data of users."""
    return [
        show_explorer,
        create_static_files_router(
            path="/graphql/explore/assets",
            directories=[_WEB / "vendor" / "graphiql"],
            include_in_schema=False,
        ),
        create_static_files_router(
            path="/graphql/explore/page", directories=[_WEB / "graphql"], include_in_schema=False
        ),
    ]
