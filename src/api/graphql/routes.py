"""What of GraphQL is served."""

from typing import Any

from headrace.api.graphql.controller import graph_controller
from headrace.api.graphql.explorer import explorer_routes
from headrace.api.graphql.schema import build_schema
from headrace.settings import Settings


def graph_routes(settings: Settings) -> list[Any]:
    """The endpoint; and, where the schema tells of itself, the page that asks it."""
    is_open = settings.env != "production"
    return [graph_controller(build_schema(may_introspect=is_open)), *(explorer_routes() if is_open else [])]
