"""`headrace backup` and `headrace restore`: all jobs, events and files of the service in one archive."""

import sys
from pathlib import Path
from typing import Any, Final

import click

from headrace.cli.options import data_dir_option
from headrace.settings import Settings, read_settings

_json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")


@click.command(
    short_help="Write the database and all files into an archive.",
    epilog="""\b
Examples:
  headrace backup /var/backups/headrace
  headrace backup before-upgrade.tar --no-files

Exit status: 0 done · 1 not done, or some files had lost their bytes; a line says which.
""",
)
@click.argument("target", metavar="FILE_OR_FOLDER", type=click.Path(path_type=Path))
@click.option("--no-files", is_flag=True, help="Leave out the bytes of files: something else backs them up.")
@data_dir_option
@_json_option
def backup(target: Path, no_files: bool, data_dir: Path | None, as_json: bool) -> None:
    """Write the database and all files into one archive, while the service runs.

    In a folder, the archive is named after the time. It needs pg_dump of the server's version or newer, and
    room for everything. The archive holds neither HEADRACE_SECRET_KEY nor other settings: keep them
    elsewhere.
    """
    from headrace.cli.backup import write_backup
    from headrace.cli.interrupts import Interrupts

    settings, folder = _read(data_dir)
    with Interrupts().captured():
        written = write_backup(settings, folder, target.expanduser().absolute(), has_files=not no_files)
    _print(written.manifest, as_json, f"backed up {_contents(written.manifest)} to {written.path}")
    if written.damaged_count:
        unnamed = written.damaged_count - len(written.damaged)
        names = ", ".join(written.damaged) + (f" and {unnamed} more" if unnamed else "")
        files = _count(written.damaged_count, "file")
        line = f"the store had lost or altered the bytes of {files}: {names}"
        click.echo(f"headrace: {line}; see: headrace doctor --files", err=True)
        sys.exit(1)


@click.command(
    short_help="Restore an archive that backup has written.",
    epilog="""\b
Examples:
  headrace restore --check /var/backups/headrace/headrace-20270131T080000Z.tar
  headrace restore /var/backups/headrace/headrace-20270131T080000Z.tar
""",
)
@click.argument("archive", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--check", is_flag=True, help="Read the whole archive, say whether it is intact, and change nothing."
)
@click.option("--replace", is_flag=True, help="Replace what the database holds now. It is lost.")
@data_dir_option
@_json_option
def restore(archive: Path, check: bool, replace: bool, data_dir: Path | None, as_json: bool) -> None:
    """Restore an archive, with the API and all workers stopped.

    The archive is checked before anything changes, and a restore that fails leaves the database as it was.
    Jobs that were running go on when a worker starts. Users sign in again; API keys are those of the backup.
    """
    from headrace.cli.interrupts import Interrupts
    from headrace.cli.restore import check_archive, restore_backup

    settings, folder = _read(data_dir)
    if check:
        manifest = check_archive(archive)
        made_at = f"{manifest.created_at:%Y-%m-%d %H:%M} UTC"
        _print(manifest, as_json, f"{archive} is whole: {_contents(manifest)}, made at {made_at}")
        return
    with Interrupts().captured():
        restored = restore_backup(settings, folder, archive, replaces=replace)
    _print(restored.manifest, as_json, f"restored {_contents(restored.manifest)}")
    if restored.is_behind:
        click.echo("the schema is that of an older release; run: headrace migrate", err=True)
    if not restored.manifest.has_files:
        click.echo(f"the archive has no files: restore {folder / 'files'} as well", err=True)


def _read(data_dir: Path | None) -> tuple[Settings, Path]:
    settings = read_settings()
    return settings, (data_dir or settings.data_dir).expanduser().absolute()


def _contents(manifest: Any) -> str:
    from headrace.cli.text import format_size

    size = f" ({format_size(manifest.file_bytes)})" if manifest.has_files else " without their bytes"
    return f"{_count(manifest.jobs, 'job')} and {_count(manifest.files, 'file')}{size}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print(manifest: Any, as_json: bool, line: str) -> None:
    from headrace.cli.output import print_json

    if as_json:
        print_json(manifest)
    else:
        click.echo(line)


COMMANDS: Final = (backup, restore)
