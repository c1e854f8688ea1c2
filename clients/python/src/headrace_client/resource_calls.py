"""The calls for pipelines, presets, tags, API keys and job tokens as values, which both clients send."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypedDict
from uuid import uuid4

import msgspec

from headrace_client.calls import Call, JobTerms, encode, path_of, query_of, read_job, remove
from headrace_client.references import Reference
from headrace_client.views import ApiKey, Job, JobToken, Me, NewApiKey, Page, Pipeline, Preset, Tag


class PresetFilter(TypedDict, total=False):
    """Filters, order and page of a list of presets."""

    pipeline: str
    tag: str
    search: str
    order_by: str
    limit: int
    offset: int
    after: str


class PresetChanges(TypedDict, total=False):
    """The fields of a preset that change. Absent fields stay; None clears the description."""

    title: str
    description: str | None
    pipeline: str
    params: Any
    tags: list[str]


_read_pipeline: Final = msgspec.json.Decoder(Pipeline).decode
_read_pipelines: Final = msgspec.json.Decoder(Page[Pipeline]).decode
_read_preset: Final = msgspec.json.Decoder(Preset).decode
_read_presets: Final = msgspec.json.Decoder(Page[Preset]).decode
_read_tag: Final = msgspec.json.Decoder(Tag).decode
_read_tags: Final = msgspec.json.Decoder(Page[Tag]).decode
_read_key: Final = msgspec.json.Decoder(NewApiKey).decode
_read_keys: Final = msgspec.json.Decoder(Page[ApiKey]).decode
_read_me: Final = msgspec.json.Decoder(Me).decode
_read_token: Final = msgspec.json.Decoder(JobToken).decode


def pipelines(limit: int, offset: int) -> Call[Page[Pipeline]]:
    params = {"limit": limit, "offset": offset}
    return Call(method="GET", path="/pipelines", read=_read_pipelines, is_repeatable=True, params=params)


def pipeline(name: str) -> Call[Pipeline]:
    return Call(method="GET", path=path_of("pipelines", name), read=_read_pipeline, is_repeatable=True)


def remove_pipeline(name: str, version: int | None) -> Call[None]:
    return remove(path_of("pipelines", name), query_of({"version": version}))


def presets(filters: PresetFilter) -> Call[Page[Preset]]:
    params = query_of(filters)
    return Call(method="GET", path="/presets", read=_read_presets, is_repeatable=True, params=params)


def preset(reference: Reference) -> Call[Preset]:
    return Call(method="GET", path=path_of("presets", reference), read=_read_preset, is_repeatable=True)


def create_preset(
    title: str, pipeline: str, params: Any, description: str | None, tags: Sequence[str]
) -> Call[Preset]:
    body = _preset(title, pipeline, params, description, tags)
    return Call(method="POST", path="/presets", read=_read_preset, body=body)


def replace_preset(
    reference: Reference,
    title: str,
    pipeline: str,
    params: Any,
    description: str | None,
    tags: Sequence[str],
) -> Call[Preset]:
    body = _preset(title, pipeline, params, description, tags)
    path = path_of("presets", reference)
    return Call(method="PUT", path=path, read=_read_preset, is_repeatable=True, body=body)


def _preset(title: str, pipeline: str, params: Any, description: str | None, tags: Sequence[str]) -> bytes:
    return encode(
        {
            "title": title,
            "description": description,
            "pipeline": pipeline,
            "params": params,
            "tags": list(tags),
        }
    )


def change_preset(reference: Reference, changes: PresetChanges) -> Call[Preset]:
    return Call(
        method="PATCH",
        path=path_of("presets", reference),
        read=_read_preset,
        is_repeatable=True,
        body=encode(changes),
    )


def delete_preset(reference: Reference, *, keep_jobs: bool) -> Call[None]:
    return remove(path_of("presets", reference), {} if keep_jobs else {"keep_jobs": "false"})


def submit_preset(reference: Reference, key: str | None, options: JobTerms) -> Call[Job]:
    """Build a submission. Without *key* it gets a random one, so that it can be retried."""
    return Call(
        method="POST",
        path=path_of("presets", reference, "/jobs"),
        read=read_job,
        is_repeatable=True,
        body=encode(options),
        key=key or uuid4().hex,
    )


def tags(limit: int, offset: int, order_by: str, after: str | None) -> Call[Page[Tag]]:
    params = query_of({"limit": limit, "offset": offset, "order_by": order_by, "after": after})
    return Call(method="GET", path="/tags", read=_read_tags, is_repeatable=True, params=params)


def create_tag(name: str) -> Call[Tag]:
    return Call(method="POST", path="/tags", read=_read_tag, body=encode({"name": name}))


def rename_tag(reference: Reference, name: str) -> Call[Tag]:
    return Call(
        method="PATCH",
        path=path_of("tags", reference),
        read=_read_tag,
        is_repeatable=True,
        body=encode({"name": name}),
    )


def delete_tag(reference: Reference) -> Call[None]:
    return remove(path_of("tags", reference))


def me() -> Call[Me]:
    return Call(method="GET", path="/me", read=_read_me, is_repeatable=True)


def api_keys(limit: int, offset: int, after: str | None) -> Call[Page[ApiKey]]:
    params = query_of({"limit": limit, "offset": offset, "after": after})
    return Call(method="GET", path="/api-keys", read=_read_keys, is_repeatable=True, params=params)


def create_api_key(name: str, scopes: Sequence[str], expires_at: datetime | None) -> Call[NewApiKey]:
    body = {"name": name, "scopes": list(scopes), "expires_at": expires_at}
    return Call(method="POST", path="/api-keys", read=_read_key, body=encode(body))


def delete_api_key(reference: Reference) -> Call[None]:
    return remove(path_of("api-keys", reference))


def create_job_token(reference: Reference, scope: str, expires_in: int) -> Call[JobToken]:
    body = {"scope": scope, "expires_in": expires_in}
    path = path_of("jobs", reference, "/tokens")
    return Call(method="POST", path=path, read=_read_token, body=encode(body))


def revoke_job_tokens(reference: Reference) -> Call[None]:
    return remove(path_of("jobs", reference, "/tokens"))
