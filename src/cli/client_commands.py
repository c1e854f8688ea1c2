"""Commands that list jobs, and that show, stop, retry, change or delete one, over the REST API."""

import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import uuid4

import click

from headrace.cli.options import client_options, job_id, job_params, object_id, past_moment, submission_key
from headrace.cli.output import json_option, offset_option, open_console, page_option, print_json, print_page

_NOT_FOLLOWED: Final = ("queue", "search", "created_after", "created_before", "order_by", "after")
_FILTERS: Final = ("pipeline", "tag", "queue", "search", "created_after", "created_before", "offset", "after")
_NO_JOBS: Final = "no jobs; submit one with: headrace submit ticks --watch"
_STATES: Final = ("queued", "running", "succeeded", "failed", "cancelled")


@click.command(
    epilog="""\b
Examples:
  headrace jobs --state failed --limit 5
  headrace jobs --state queued --state running --tag nightly
  headrace jobs --follow
"""
)
@click.option(
    "--state",
    "states",
    type=click.Choice(_STATES),
    multiple=True,
    help="Only this state; may be repeated.",
)
@click.option("--pipeline", metavar="NAME", help="Only jobs of this pipeline.")
@click.option("--tag", metavar="TAG", help="Only jobs with this tag.")
@click.option("--queue", metavar="NAME", help="Only jobs of this queue.")
@click.option("--search", metavar="TEXT", help="Only jobs with TEXT in id, pipeline, parameters or meta.")
@click.option(
    "--after",
    "created_after",
    type=past_moment,
    metavar="TIME",
    help="Only jobs created since: 2027-01-31, or 2h (ago).",
)
@click.option(
    "--before", "created_before", type=past_moment, metavar="TIME", help="Only jobs that were created before."
)
@click.option("--order-by", metavar="COLUMN", help="Such as priority or -run_at. [default: -created_at]")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    metavar="N",
    help="Maximum number of jobs.",
)
@offset_option
@page_option
@click.option("--follow", is_flag=True, help="Print each job when it changes, until Ctrl-C.")
@json_option
@client_options
def jobs(
    states: tuple[str, ...],
    follow: bool,
    as_json: bool,
    url: str,
    token: str | None,
    **filters: Any,
) -> None:
    """List jobs, newest first."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.jobs_follow import follow_jobs
    from headrace.cli.tables import jobs_table

    api = ApiClient(url, token)
    if follow:
        if len(states) > 1 or any(filters[name] is not None for name in _NOT_FOLLOWED):
            raise click.UsageError("--follow takes --pipeline, --tag and one --state, and no other filter")
        sys.exit(follow_jobs(api, states, filters["pipeline"], filters["tag"], as_json=as_json))
    page = api.get("/jobs", state=states, **filters)
    print_page(
        page,
        partial(jobs_table, now=datetime.now(UTC)),
        as_json=as_json,
        noun="jobs",
        empty="no jobs match" if states or any(filters.get(name) for name in _FILTERS) else _NO_JOBS,
    )


@click.command(epilog="\b\nExample:\n  headrace show 01a1fcda-1222-71e3-b3dd-702451ba443d")
@click.argument("job", type=job_id)
@json_option
@client_options
def show(job: str, as_json: bool, url: str, token: str | None) -> None:
    """Show one job: its state, steps and files, and why it failed."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.live_progress import update_progress
    from headrace.cli.tables import show_job

    api = ApiClient(url, token)
    details = api.get(f"/jobs/{job}")
    steps = api.get(f"/jobs/{job}/steps")["items"]
    files = api.get(f"/jobs/{job}/files", limit=1000)["items"]
    if details["state"] == "running":
        update_progress(api, details, steps)
    if as_json:
        print_json({**details, "steps": steps, "files": files})
    else:
        show_job(open_console(), details, steps, files, datetime.now(UTC))


@click.command(
    short_help="List the steps of a job.",
    epilog="\b\nExample:\n  headrace steps 01a1fcda-1222-71e3-b3dd-702451ba443d --json",
)
@click.argument("job", type=job_id)
@json_option
@client_options
def steps(job: str, as_json: bool, url: str, token: str | None) -> None:
    """List the steps of a job, in the order of its pipeline, with their outputs (--json)."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.live_progress import update_progress
    from headrace.cli.tables import steps_table

    api = ApiClient(url, token)
    items = api.get(f"/jobs/{job}/steps")["items"]
    if any(step["state"] == "running" for step in items):
        update_progress(api, api.get(f"/jobs/{job}"), items)
    if as_json:
        print_json(items)
    else:
        open_console().print(steps_table(items, datetime.now(UTC)))


@click.command(epilog="\b\nExample:\n  headrace cancel 01a1fcda-1222-71e3-b3dd-702451ba443d")
@click.argument("job", type=job_id)
@json_option
@client_options
def cancel(job: str, as_json: bool, url: str, token: str | None) -> None:
    """Cancel a job. A queued job is cancelled at once; a running job stops soon afterwards."""
    from headrace.cli.api_client import ApiClient

    answer = ApiClient(url, token).post(f"/jobs/{job}/cancel")
    if as_json:
        print_json(answer)
    else:
        is_over = answer.get("state") == "cancelled"
        click.echo("cancelled" if is_over else "cancel requested; the job is still running")


@click.command(epilog="\b\nExample:\n  headrace retry 01a1fcda-1222-71e3-b3dd-702451ba443d")
@click.argument("job", type=job_id)
@json_option
@client_options
def retry(job: str, as_json: bool, url: str, token: str | None) -> None:
    """Queue a failed job again. Steps that have succeeded are not repeated."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.errors import watch_command

    api = ApiClient(url, token)
    answer = api.post(f"/jobs/{job}/retry")
    if as_json:
        print_json(answer)
    else:
        click.echo(f"queued again; watch it with: {watch_command(api.url, job)}")


@click.command(
    epilog="""\b
Examples:
  headrace change 01a1fcda-1222-71e3-b3dd-702451ba443d --tag nightly --tag blue
  headrace change 01a1fcda-1222-71e3-b3dd-702451ba443d --meta '{"ticket": 17}'
  headrace change 01a1fcda-1222-71e3-b3dd-702451ba443d --keep
"""
)
@click.argument("job", type=job_id)
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="A tag of the job from now on; may be repeated."
)
@click.option("--no-tags", is_flag=True, help="Remove all tags.")
@click.option("--meta", type=job_params, metavar="JSON|@FILE", help="Merge this object into the job's meta.")
@click.option("--keep/--no-keep", default=None, help="Pin the job, so that it is never pruned, or unpin it.")
@json_option
@client_options
def change(
    job: str,
    tags: tuple[str, ...],
    no_tags: bool,
    meta: dict[str, Any] | None,
    keep: bool | None,
    as_json: bool,
    url: str,
    token: str | None,
) -> None:
    """Change the tags or the meta of a job, or pin it."""
    from headrace.cli.api_client import ApiClient

    changes: dict[str, Any] = {}
    if tags or no_tags:
        changes["tags"] = [] if no_tags else list(tags)
    if meta is not None:
        changes["meta"] = meta
    if keep is not None:
        changes["keep"] = keep
    if not changes:
        raise click.UsageError("nothing to change: give --tag, --no-tags, --meta or --keep")
    answer = ApiClient(url, token).patch(f"/jobs/{job}", changes)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"changed {job}")


@click.command(
    short_help="Delete jobs that have ended, or files.",
    epilog="""\b
Examples:
  headrace delete 01a1fcda-1222-71e3-b3dd-702451ba443d
  headrace delete --file 01a1fcda-1aaa-7333-b3dd-702451ba4000
""",
)
@click.argument("ids", nargs=-1, required=True, type=object_id, metavar="JOB...")
@click.option("--file", "is_file", is_flag=True, help="The ids are those of files.")
@client_options
def delete(ids: tuple[str, ...], is_file: bool, url: str, token: str | None) -> None:
    """Delete jobs that have ended, with their history and files; or files."""
    from headrace.cli.api_client import ApiClient

    api = ApiClient(url, token)
    for object_ in ids:
        api.delete(f"/{'files' if is_file else 'jobs'}/{object_}")
        click.echo(f"deleted {object_}")


@click.command(
    short_help="Submit many jobs, all or none.",
    epilog="""\b
Examples:
  headrace batch @jobs.json --key import-17
  echo '{"jobs": [{"pipeline": "noop"}, {"pipeline": "ticks", "params": {"count": 3}}]}' | headrace batch @-
""",
)
@click.argument("jobs", type=job_params, metavar="JSON|@FILE")
@click.option("--key", type=submission_key, metavar="KEY", help="Idempotency key of the whole batch.")
@json_option
@client_options
def batch(jobs: dict[str, Any], key: str | None, as_json: bool, url: str, token: str | None) -> None:
    """Submit up to 1,000 jobs, all or none, and print their ids.

    The argument is an object like {"jobs": [...]}, whose entries are bodies of POST /jobs.
    """
    from headrace.cli.api_client import ApiClient

    submitted = ApiClient(url, token).post("/jobs/batch", jobs, key or uuid4().hex)["items"]
    if as_json:
        print_json(submitted)
    else:
        click.echo("\n".join(job["id"] for job in submitted))


READS: Final = (jobs, show, steps)
CHANGES: Final = (cancel, retry, change, delete, batch)
