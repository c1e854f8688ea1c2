"""Examples of requests, which succeed as they are on a service that `headrace up` has just started."""

from typing import Any, Final

Schema = dict[str, Any]

_TICKS: Final[Schema] = {"pipeline": "ticks", "params": {"count": 20, "interval_ms": 100}}

# The first example of an operation is the one that pages show.
BODIES: Final[dict[str, dict[str, Schema]]] = {
    "submitJob": {
        "a job that reports its progress": _TICKS,
        "a job that starts later, with tags": {
            "pipeline": "ticks",
            "params": {"count": 5},
            "run_at": "2100-01-01T00:00:00Z",
            "priority": 9,
            "tags": ["example"],
            "meta": {"ticket": 17},
        },
        "a job that fails, to be retried": {
            "pipeline": "flaky",
            "params": {"fail_times": 100},
            "max_attempts": 1,
        },
    },
    "submitJobs": {"two jobs": {"jobs": [_TICKS, {"pipeline": "noop"}]}},
    "patchJob": {
        "new tags, and one key of meta": {"tags": ["example"], "meta": {"ticket": 18}},
        "keep it forever": {"keep": True},
    },
    "makeJobToken": {"a token for ten minutes": {"scope": "read", "expires_in": 600}},
    "patchFile": {"a new name": {"name": "renamed.txt"}},
    "createPreset": {
        "twenty ticks": {"title": "Twenty ticks", "pipeline": "ticks", "params": {"count": 20}, "tags": []}
    },
    "submitPreset": {"as it is": {}, "with a priority": {"priority": 9}},
    "patchPreset": {"a description": {"description": "Counts to twenty."}},
    "replacePreset": {
        "thirty ticks": {"title": "Thirty ticks", "pipeline": "ticks", "params": {"count": 30}}
    },
    "createTag": {"a tag": {"name": "nightly"}},
    "patchTag": {"another name": {"name": "weekly"}},
    "makeApiKey": {"a key that reads jobs": {"name": "my script", "scopes": ["jobs:read"]}},
    "patchUser": {"an admin": {"is_admin": True}},
    "queryGraph": {"the newest jobs": {"query": "{ jobs(limit: 5) { id state steps { name state } } }"}},
    "refreshSession": {"another program's": {"refresh_token": "the refresh token of the session"}},
}
_PATH_PARAMETERS: Final = {
    "name": "ticks",
    "showScaling.name": "default",
    "provider": "github",
    "tone_id": 1,
}


def add_examples(operation: Schema) -> None:
    """Add examples of the body and of the path to *operation*. Ids are only known once there are objects."""
    bodies = BODIES.get(operation["operationId"])
    if bodies is not None:
        for content in operation["requestBody"]["content"].values():
            content["examples"] = {name: {"value": value} for name, value in bodies.items()}
    for parameter in operation.get("parameters", []):
        names = f"{operation['operationId']}.{parameter['name']}", parameter["name"]
        known = [_PATH_PARAMETERS[name] for name in names if name in _PATH_PARAMETERS]
        if parameter["in"] == "path" and known:
            parameter["example"] = known[0]
