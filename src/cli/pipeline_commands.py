"""Commands for pipelines, presets and tags, over the REST API."""

import re
from typing import Any, Final
from uuid import uuid4

import click

from headrace.cli.options import (
    ListingGroup,
    client_options,
    job_params,
    object_id,
    submission_key,
    term_options,
)
from headrace.cli.output import json_option, limit_option, offset_option, page_option, print_json, print_page


@click.command(epilog="\b\nExamples:\n  headrace pipelines\n  headrace pipelines --remove nightly@2")
@click.option(
    "--remove",
    "removed",
    metavar="NAME[@VERSION]",
    help="Remove all versions of a pipeline, or one, that no live worker serves. Its past jobs stay.",
)
@limit_option
@offset_option
@json_option
@client_options
def pipelines(
    removed: str | None, limit: int, offset: int, as_json: bool, url: str, token: str | None
) -> None:
    """List the pipelines and their parameters. Parameters with a * are required.

    `served` says whether a live worker runs jobs of it now.
    """
    from headrace.cli.api_client import ApiClient
    from headrace.cli.tables import pipelines_table

    api = ApiClient(url, token)
    if removed is not None:
        name, version = _split_version(removed)
        api.delete(f"/pipelines/{name}", version=version)
        click.echo(f"removed {removed}")
        return
    print_page(
        api.get("/pipelines", limit=limit, offset=offset),
        pipelines_table,
        as_json=as_json,
        noun="pipelines",
        empty="no pipelines yet: a worker registers its pipelines when it starts",
        has_cursors=False,
    )


def _split_version(text: str) -> tuple[str, int | None]:
    """Return the name and the version of NAME or NAME@VERSION."""
    name, at, version = text.partition("@")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or (at and not version.isdecimal()):
        raise click.BadParameter(f"{text!r} is not NAME or NAME@VERSION", param_hint="--remove")
    return name, int(version) if at else None


@click.group(
    cls=ListingGroup,
    invoke_without_command=True,
    short_help="List saved parameters; save, submit or delete some.",
    epilog="""\b
Examples:
  headrace presets
  headrace presets save "ten ticks" ticks --params '{"count": 10}'
  headrace presets submit 01a1fcda-1222-71e3-b3dd-702451ba443d
""",
)
@click.option("--pipeline", metavar="NAME", help="Only presets of this pipeline.")
@click.option("--tag", metavar="TAG", help="Only presets with this tag.")
@click.option("--search", metavar="TEXT", help="Only presets with TEXT in title or description.")
@limit_option
@offset_option
@page_option
@json_option
@client_options
@click.pass_context
def presets(context: click.Context, /, as_json: bool, url: str, token: str | None, **filters: Any) -> None:
    """List presets: saved parameters of a pipeline; or save, submit, delete one."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.resource_tables import presets_table

    if context.invoked_subcommand is not None:
        return
    print_page(
        ApiClient(url, token).get("/presets", **filters),
        presets_table,
        as_json=as_json,
        noun="presets",
        empty="no presets; save one with: headrace presets save TITLE PIPELINE --params JSON",
    )


@presets.command(epilog="\b\nExample:\n  headrace presets save 'ten ticks' ticks --params '{\"count\": 10}'")
@click.argument("title")
@click.argument("pipeline")
@click.option("--params", type=job_params, metavar="JSON|@FILE", default="{}", help="As for submit.")
@click.option("--description", metavar="TEXT", help="What it is for.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Mark the preset; may be repeated.")
@json_option
@client_options
def save(
    title: str,
    pipeline: str,
    params: dict[str, Any],
    description: str | None,
    tags: tuple[str, ...],
    as_json: bool,
    url: str,
    token: str | None,
) -> None:
    """Save parameters of PIPELINE under TITLE, and print the id."""
    from headrace.cli.api_client import ApiClient

    body = {
        "title": title,
        "description": description,
        "pipeline": pipeline,
        "params": params,
        "tags": list(tags),
    }
    saved = ApiClient(url, token).post("/presets", body)
    print_json(saved) if as_json else click.echo(saved["id"])


@presets.command("submit", epilog="\b\nExample:\n  headrace presets submit PRESET --priority 9")
@click.argument("preset", type=object_id)
@click.option("--key", type=submission_key, metavar="KEY", help="Idempotency key, as for submit.")
@term_options
@json_option
@client_options
def submit_preset(
    preset: str, key: str | None, as_json: bool, url: str, token: str | None, **terms: Any
) -> None:
    """Submit a job of a preset, and print its id."""
    from headrace.cli.api_client import ApiClient, given

    job = ApiClient(url, token).post(f"/presets/{preset}/jobs", given(terms), key or uuid4().hex)
    print_json(job) if as_json else click.echo(job["id"])


@presets.command("delete", epilog="\b\nExample:\n  headrace presets delete PRESET")
@click.argument("preset", type=object_id)
@click.option("--with-jobs", is_flag=True, help="Delete its jobs as well, if all have ended.")
@client_options
def delete_preset(preset: str, with_jobs: bool, url: str, token: str | None) -> None:
    """Delete a preset. Its jobs stay."""
    from headrace.cli.api_client import ApiClient

    ApiClient(url, token).delete(f"/presets/{preset}", keep_jobs=False if with_jobs else None)
    click.echo(f"deleted {preset}")


@click.group(
    cls=ListingGroup,
    invoke_without_command=True,
    short_help="List tags; create, rename or delete one.",
    epilog="\b\nExamples:\n  headrace tags\n  headrace tags rename TAG nightly",
)
@limit_option
@offset_option
@page_option
@json_option
@client_options
@click.pass_context
def tags(context: click.Context, /, as_json: bool, url: str, token: str | None, **page: Any) -> None:
    """List tags and how many jobs and presets they mark; or create, rename, delete one."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.resource_tables import tags_table

    if context.invoked_subcommand is not None:
        return
    print_page(
        ApiClient(url, token).get("/tags", **page),
        tags_table,
        as_json=as_json,
        noun="tags",
        empty="no tags; submit a job with one: headrace submit ticks --tag try",
    )


@tags.command("create", epilog="\b\nExample:\n  headrace tags create nightly")
@click.argument("name")
@json_option
@client_options
def create_tag(name: str, as_json: bool, url: str, token: str | None) -> None:
    """Create a tag, and print its id. Jobs create the tags that they name by themselves."""
    from headrace.cli.api_client import ApiClient

    tag = ApiClient(url, token).post("/tags", {"name": name})
    print_json(tag) if as_json else click.echo(tag["id"])


@tags.command("rename", epilog="\b\nExample:\n  headrace tags rename TAG nightly")
@click.argument("tag", type=object_id)
@click.argument("name")
@client_options
def rename_tag(tag: str, name: str, url: str, token: str | None) -> None:
    """Rename the tag with the id TAG on all jobs and presets that it marks."""
    from headrace.cli.api_client import ApiClient

    ApiClient(url, token).patch(f"/tags/{tag}", {"name": name})
    click.echo(f"renamed to {name}")


@tags.command("delete", epilog="\b\nExample:\n  headrace tags delete TAG")
@click.argument("tag", type=object_id)
@client_options
def delete_tag(tag: str, url: str, token: str | None) -> None:
    """Delete the tag with the id TAG. The jobs and presets that it marked stay."""
    from headrace.cli.api_client import ApiClient

    ApiClient(url, token).delete(f"/tags/{tag}")
    click.echo(f"deleted {tag}")


COMMANDS: Final = (pipelines, presets, tags)
