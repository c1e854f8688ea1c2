"""The path below which the service is published is cut off, once, and only where it is the prefix."""

import pytest

from headrace.api.path_prefix import PathPrefix

ROOTS = frozenset({"api", "docs", "health", "openapi.json"})


@pytest.mark.parametrize(
    ("prefix", "path", "own_path"),
    [
        ("/headrace", "/headrace/api/v1/jobs", "/api/v1/jobs"),
        ("/headrace", "/api/v1/jobs", "/api/v1/jobs"),
        ("/headrace", "/headrace/", "/"),
        ("/headrace", "/headrace", "/"),
        ("/headrace", "/headracer/docs", "/headracer/docs"),
        ("/headrace", "/headrace/headrace/docs", "/headrace/docs"),
        ("/headrace", "/headrace/nothing", "/nothing"),
        ("/a/b", "/a/b/docs", "/docs"),
        ("/a/b", "/a/docs", "/a/docs"),
        ("/api", "/api/v1/jobs", "/api/v1/jobs"),
        ("/api", "/api/api/v1/jobs", "/api/v1/jobs"),
        ("/docs", "/docs", "/docs"),
        ("/docs", "/docs/docs", "/docs"),
        ("/docs", "/docs/page/start.js", "/docs/page/start.js"),
        ("/docs", "/docs/docs/page/start.js", "/docs/page/start.js"),
        ("/docs", "/docs/openapi.json", "/openapi.json"),
    ],
)
def test_a_prefix_is_cut_off_where_a_path_of_the_service_remains(
    prefix: str, path: str, own_path: str
) -> None:
    assert PathPrefix(prefix, ROOTS).cut(path) == own_path
