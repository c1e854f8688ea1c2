"""Says what is missing at a path that no route serves."""

import re
from typing import Final

# The routes take only UUIDs, so that the path of another id is unknown.
_OBJECT: Final = re.compile(r"/api/v1/(?P<kind>jobs|files|presets|tags|api-keys|users)/(?P<id>[^/]+)")
_NAMES: Final = {
    "jobs": "job",
    "files": "file",
    "presets": "preset",
    "tags": "tag",
    "api-keys": "API key",
    "users": "user",
}
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_MAX_LENGTH: Final = 100


def describe_missing(path: str) -> str:
    """Return the sentence for a 404 at *path*."""
    match = _OBJECT.match(path)
    if match is not None and _UUID.fullmatch(match["id"]) is None:
        name = _NAMES[match["kind"]]
        return f"there is no {name} {match['id'][:_MAX_LENGTH]!r}: its id is a UUID"
    return f"there is nothing at {path[:_MAX_LENGTH]}"
