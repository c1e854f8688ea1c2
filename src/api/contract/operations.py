"""The operations of the API in the order in which a newcomer uses them, with their summaries."""

from typing import Any, Final

Schema = dict[str, Any]

TAGS: Final = {
    "jobs": "Submit jobs, watch each one live, cancel and repeat them.",
    "pipelines": "What jobs can be submitted to. Pipelines are Python code; workers register them.",
    "files": "Inputs that you upload, and what the steps of jobs have saved.",
    "presets": "Params of a pipeline, saved under a title.",
    "tags": "Names that mark jobs and presets.",
    "numbers": "How many jobs wait, run and end, how fast, and who runs them.",
    "accounts": "The caller, its API keys and, for admins, all users.",
    "graphql": "Jobs with all their parts in one request. `/graphql/explore` helps to write queries.",
    "auth": "Signing in at a provider, with `HEADRACE_AUTH=token`.",
    "tone3000": "Sounds for the pipeline `shootout`.",
    "health": "For load balancers and monitoring.",
}

SUMMARIES: Final = {
    "submitJob": "Submit a job",
    "getJob": "Show a job",
    "streamJob": "Watch a job as server-sent events",
    "listEvents": "List the events of a job",
    "listSteps": "List the steps of a job",
    "listJobFiles": "List the files of a job",
    "listJobs": "List jobs",
    "submitJobs": "Submit up to 1,000 jobs",
    "cancelJob": "Cancel a job",
    "retryJob": "Retry a failed job",
    "patchJob": "Change tags and meta of a job",
    "makeJobToken": "Make a token to watch a job",
    "revokeJobTokens": "Revoke the tokens of a job",
    "deleteJob": "Delete a job",
    "listPipelines": "List pipelines",
    "getPipeline": "Show a pipeline",
    "deletePipeline": "Remove a pipeline",
    "uploadFile": "Upload a file",
    "getFile": "Show a file",
    "downloadFile": "Download a file",
    "listFiles": "List files",
    "patchFile": "Change name and meta of a file",
    "deleteFile": "Delete a file",
    "createPreset": "Save a preset",
    "submitPreset": "Submit a job of a preset",
    "getPreset": "Show a preset",
    "listPresets": "List presets",
    "patchPreset": "Change a preset",
    "replacePreset": "Replace a preset",
    "deletePreset": "Delete a preset",
    "createTag": "Create a tag",
    "getTag": "Show a tag",
    "listTags": "List tags",
    "patchTag": "Rename a tag",
    "deleteTag": "Delete a tag",
    "showStats": "Show counts, rates and times of jobs",
    "listQueues": "List queues",
    "showScaling": "Show how many workers a queue needs",
    "listWorkers": "List workers",
    "showMe": "Show the caller",
    "makeApiKey": "Make an API key",
    "getApiKey": "Show an API key",
    "listApiKeys": "List API keys",
    "deleteApiKey": "Revoke an API key",
    "listUsers": "List users",
    "getUser": "Show a user",
    "patchUser": "Grant or withdraw admin rights",
    "endSessions": "Sign a user out everywhere",
    "deleteUser": "Delete a user",
    "listAudit": "List the changes by admins",
    "queryGraph": "Query jobs with GraphQL",
    "signIn": "Sign in at a provider",
    "finishSignIn": "Return from a provider",
    "refreshSession": "Refresh a session",
    "signOut": "Sign out",
    "getTone": "Show a tone",
    "live": "Check that the process answers",
    "ready": "Check that requests can be served",
}

_ORDER: Final = {operation: position for position, operation in enumerate(SUMMARIES)}


def in_order_of_use(paths: Schema) -> Schema:
    """Return *paths* with the first that a newcomer uses first. Operations without a summary come last."""
    ordered = {path: dict(sorted(operations.items(), key=_position)) for path, operations in paths.items()}
    return dict(sorted(ordered.items(), key=lambda item: min(map(_position, item[1].items()))))


def _position(operation: tuple[str, Schema]) -> int:
    return _ORDER.get(operation[1].get("operationId", ""), len(_ORDER))
