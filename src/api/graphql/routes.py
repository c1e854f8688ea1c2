"""The routes of GraphQL: the endpoint, and outside of production the explorer."""

from typing import Any

from headrace.api.graphql.controller import graph_controller
from headrace.api.graphql.explorer import explorer_routes
from headrace.api.graphql.schema import build_schema
from headrace.settings import Settings


def graph_routes(settings: Settings) -> list[Any]:
    """Return the endpoint and, where clients may query the schema itself, the page of the explorer."""
    may_introspect = settings.env != "production"
    return [
        graph_controller(build_schema(may_introspect=may_introspect)),
        *(explorer_routes() if may_introspect else []),
    ]
