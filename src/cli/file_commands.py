"""Commands that upload, list and download files, over the REST API."""

from pathlib import Path
from typing import Any, Final

import click

from headrace.cli.options import client_options, job_id, object_id, past_moment
from headrace.cli.output import json_option, limit_option, offset_option, page_option, print_json, print_page
from headrace.cli.text import one_line
from headrace.domain.errors import HeadraceError


class FileExistsHereError(HeadraceError):
    """A download would replace a file of the user."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists; replace it with --force, or choose another place with --out")


@click.command(epilog="\b\nExample:\n  FILE=$(headrace upload take.wav)")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@json_option
@client_options
def upload(paths: tuple[Path, ...], as_json: bool, url: str, token: str | None) -> None:
    """Upload files, and print their ids."""
    from headrace.cli.api_client import ApiClient

    api = ApiClient(url, token)
    for path in paths:
        file_id = api.upload(path)
        print_json(api.get(f"/files/{file_id}")) if as_json else click.echo(file_id)


@click.command(
    short_help="List your files, or those of a job.",
    epilog="\b\nExamples:\n  headrace files\n  headrace files 01a1fcda-1222-71e3-b3dd-702451ba443d --json",
)
@click.argument("job", type=job_id, required=False)
@click.option("--search", metavar="TEXT", help="Only files with TEXT in their name.")
@click.option(
    "--before",
    "created_before",
    type=past_moment,
    metavar="TIME",
    help="Only files created before.",
)
@limit_option
@offset_option
@page_option
@json_option
@client_options
def files(job: str | None, as_json: bool, url: str, token: str | None, **filters: Any) -> None:
    """List your files, newest first: uploads, and those that jobs saved; or those of one JOB."""
    from headrace.cli.api_client import ApiClient
    from headrace.cli.tables import files_table

    print_page(
        ApiClient(url, token).get("/files", job=job, **filters),
        files_table,
        as_json=as_json,
        noun="files",
        empty="no files; upload one with: headrace upload PATH",
    )


@click.command(
    short_help="Download files, or all of a job.",
    epilog="""\b
Examples:
  headrace download 01a1fcda-1aaa-7333-b3dd-702451ba4000
  headrace download 01a1fcda-1aaa-7333-b3dd-702451ba4000 --out take.wav
  headrace download --job 01a1fcda-1222-71e3-b3dd-702451ba443d --out results
""",
)
@click.argument("ids", nargs=-1, type=object_id, metavar="FILE...")
@click.option("--job", type=job_id, metavar="JOB", help="Download all files of a job.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path(), help="File or folder to write to. [default: .]"
)
@click.option("--force", is_flag=True, help="Replace files that exist.")
@client_options
def download(
    ids: tuple[str, ...], job: str | None, out: Path, force: bool, url: str, token: str | None
) -> None:
    """Download files under their names, and print where they are."""
    from headrace.cli.api_client import ApiClient

    if bool(ids) == (job is not None):
        raise click.UsageError("give the ids of files, or --job with the id of a job")
    api = ApiClient(url, token)
    if job is None:
        wanted = [api.get(f"/files/{file_id}") for file_id in ids]
    else:
        wanted = api.get(f"/jobs/{job}/files", limit=1000)["items"]
    is_folder = len(wanted) > 1 or job is not None or out.is_dir()
    if is_folder:
        out.mkdir(parents=True, exist_ok=True)
    for file in wanted:
        # The name comes from the service, so it must not lead out of the folder.
        target = out / Path(file["name"]).name if is_folder else out
        if target.exists() and not force:
            raise FileExistsHereError(target)
        api.download(file["id"], target)
        click.echo(one_line(str(target)))


COMMANDS: Final = (upload, files, download)
