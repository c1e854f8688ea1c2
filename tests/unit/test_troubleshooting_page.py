"""docs/troubleshooting.md has an entry for each error code, refusal to start and finding of `doctor`."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import headrace
from headrace.api import problems
from headrace.api.error_codes import CODES
from headrace.domain.accounts.caller import Refusal, UnauthenticatedError
from headrace.domain.errors import HeadraceError
from headrace.domain.jobs import waiting
from support.message_templates import BLANK, messages_of, modules

PAGE: Final = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()

REFUSALS: Final = (
    "AnotherBackupError",
    "AnotherUpError",
    "ArchiveDamagedError",
    "ArchiveExistsError",
    "ArchiveNotWrittenError",
    "BadTokenError",
    "BadUrlError",
    "ClockOffError",
    "DataFolderError",
    "DatabaseNotEmptyError",
    "DatabaseRefusedError",
    "DemoError",
    "FileExistsHereError",
    "FolderUnusableError",
    "GaveUpError",
    "IndexNotBuiltError",
    "KeyNotWrittenError",
    "MigrationRunsError",
    "MissingExtraError",
    "NewerArchiveError",
    "NoRoomError",
    "NoDatabaseError",
    "NotReadyError",
    "NothingToBackUpError",
    "OtherSchemaError",
    "PipelineRefusedError",
    "PortTakenError",
    "PostMigrationError",
    "PruneFailedError",
    "PrunedElsewhereError",
    "ProjectNameError",
    "ProjectNotWrittenError",
    "RedisRefusedError",
    "RemoteRefusedError",
    "SchemaAheadError",
    "SchemaBehindError",
    "SchemaLockedError",
    "SchemaNotInDumpError",
    "ServerError",
    "ServerUrlError",
    "ServiceRunsError",
    "SettingsError",
    "SourceNotFoundError",
    "StartRefusedError",
    "TooFewConnectionsError",
    "TooManyRowsError",
    "ToolError",
    "TracingNotInstalledError",
    "UnfinishedRestoreError",
    "UnreachableError",
)
"""The errors with which a command ends. Each of their messages has an entry."""

NOT_REFUSALS: Final = {
    "BlobsNotRemovedError": "a failing chore; doctor shows its text after the chore's name",
    "ChangeRefusedError": "the job fails with value_not_storable",
    "DecryptionError": "a stored token is used no more, and the user signs in again",
    "InvalidInputError": "a refusal of the API: validation_failed",
    "JobCancelledError": "stops a step whose job is cancelled",
    "JsonRefusedError": "the base class of refusals of the API",
    "LeaseLostError": "stops an attempt whose job another worker has taken over",
    "LockHeldError": "becomes AnotherUpError or ServerError",
    "MessageRefusedError": "counted as redis_messages in /health/ready",
    "NoNameLeftError": "an internal error",
    "NoVerdictError": "repeats another error with the exit status of watch",
    "OutputError": "an error of a job; its codes have entries",
    "PermanentError": "an error of a job; its codes have entries",
    "PipelineChangedError": "doctor and the log show the difference that it names",
    "PipelineDefinitionError": "raised while an author's module is imported; its message says what to change",
    "RefusedError": "repeats what the API answers",
    "RetryableError": "an error of a job; its codes have entries",
    "RulePutOffError": "a failing chore; doctor shows its text after the chore's name",
    "SchemaError": "the base class of refusals",
    "TakenError": "the base class of refusals of the API",
    "UnauthenticatedError": "a refusal of the API; its codes have entries",
    "UnguardedRouteError": "stops the start of a service whose code is wrong",
    "UnknownKeyError": "becomes id_token_refused",
    "WatchRefusedError": "repeats what the API answers",
}
"""All other errors that have no status in the API, and what becomes of them."""

PACKAGES: Final = (
    "headrace.adapters.",
    "headrace.api.",
    "headrace.cli.",
    "headrace.domain.",
    "headrace.settings",
    "headrace.workers.",
)
"""Where errors of the service are; those of bundled pipelines are errors of jobs."""

PASSED_ON: Final = {
    "workers/attempt/graph_runner.py",
    "workers/attempt/process_executor.py",
    "workers/attempt/retry_decision.py",
    "workers/child/main.py",
    "workers/outputs.py",
    "workers/values.py",
}
"""Modules that pass on the code of an error that was made elsewhere."""

PASSED_ON_FINDINGS: Final = {
    "failure.summary": ("headrace.domain.pipelines.tracebacks", "summarize"),
    "sentence": ("headrace.domain.pipelines.loading", "_explain_empty"),
}
"""Findings whose text another module makes: the function that returns it."""
REPEATED_FINDINGS: Final = {"error", "nothing_found(server, 'any', search.problems)", "refusal"}
"""Findings that repeat an error, in `str(...)`: a refusal, which has an entry, or one of PostgreSQL."""

CODES_OF_JOBS: Final = {"PermanentError": 9, "JobError": 9, "job_error": 0, "OutputError": 0, "__init__": 9}
CODES_OF_API: Final = {"InvalidInputError": 2, "Refusal": 1, "_Refusal": 1, "LimitError": 0, "error": 0}
"""Calls that name a code, and the position of that argument; 9 where it is always named."""
OF_LOGS: Final = {"query_failed", "request_failed"}


def section(title: str) -> str:
    """Return the text below a heading of the second level."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def spans(text: str) -> set[str]:
    """Return the inline code of *text*; words in angle brackets stand for blanks."""
    return {normalised(re.sub(r"<[^<>`]+>", BLANK, span)) for span in re.findall(r"`([^`\n]+)`", text)}


def rows(text: str, column: int) -> Iterator[str]:
    """Yield the inline code in a column of the tables of *text*."""
    for line in text.splitlines():
        if line.startswith("| "):
            yield from spans(line.split("|")[column + 1])


def normalised(message: str) -> str:
    """Return a message as inline code can hold it."""
    return message.replace("`", "'")


def error_classes() -> set[str]:
    """Return the names of all errors of the package that have no status in the API."""
    for module in pkgutil.walk_packages(headrace.__path__, "headrace."):
        if not module.name.startswith(("headrace.pipelines", "headrace.web", "headrace.migrations")):
            importlib.import_module(module.name)
    kinds, found = HeadraceError.__subclasses__(), set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind not in CODES and kind.__module__.startswith(PACKAGES):
            found.add(kind.__name__)
    return found


def codes(packages: tuple[str, ...], calls: dict[str, int]) -> dict[str, str]:
    """Return the codes that calls name in *packages*, each with its place."""
    return {
        code: call.place
        for module in modules()
        if module.name.startswith(packages)
        for name, position in calls.items()
        for call in module.calls(name)
        for code in call.texts(position, "code")
        if re.fullmatch(r"[a-z][a-z_]+", code) or code == BLANK
    }


def findings() -> dict[str, str]:
    """Return the texts of all findings of `doctor` that may be faults, each with its place."""
    found: dict[str, str] = {}
    for module in modules():
        for call in module.calls("Finding"):
            is_ok = call.argument(1, "ok")
            if not (isinstance(is_ok, ast.Constant) and is_ok.value is True):
                found |= dict.fromkeys(map(normalised, call.texts(2, "text")), call.place)
    found.pop(BLANK)  # those that are passed on, or repeat an error
    for name, function in PASSED_ON_FINDINGS.values():
        (module,) = [module for module in modules() if module.name == name]
        found |= dict.fromkeys(map(normalised, module.returned_by(function)), name)
    return found


def refusals() -> dict[str, str]:
    """Return the messages of all refusals, each with its place."""
    found = {
        normalised(message): place for error in REFUSALS for message, place in messages_of(error).items()
    }
    found.pop(BLANK, None)
    return found


def test_every_error_is_a_refusal_with_an_entry_or_is_listed_as_something_else() -> None:
    assert error_classes() == set(REFUSALS) | set(NOT_REFUSALS)


def test_every_refusal_to_start_has_an_entry() -> None:
    entries = spans(section("It does not start"))

    assert {message: place for message, place in refusals().items() if message not in entries} == {}


def test_every_finding_of_doctor_has_an_entry() -> None:
    entries = spans(section("What doctor finds"))

    assert {text: place for text, place in findings().items() if text not in entries} == {}


def test_findings_that_the_source_does_not_name_are_passed_on_or_repeat_an_error() -> None:
    sources = {
        call.source(2, "text")
        for module in modules()
        for call in module.calls("Finding")
        if BLANK in call.texts(2, "text") and call.source(1, "ok") == "False"
    }

    assert sources == PASSED_ON_FINDINGS.keys() | {f"str({name})" for name in REPEATED_FINDINGS}


def test_no_entry_is_left_of_a_line_that_is_gone() -> None:
    lines = set(rows(section("It does not start"), 0)) - set(refusals())
    texts = set(rows(section("What doctor finds"), 1)) - set(findings())

    assert (lines, texts) == (set(), set())


def test_every_error_code_of_a_job_has_an_entry() -> None:
    named = codes(("headrace.workers", "headrace.domain", "headrace.pipelines"), CODES_OF_JOBS)
    named.pop(BLANK)
    entries = set(rows(section("Error codes of jobs"), 0))

    assert {"step_failed", "output_mismatch", "items_invalid", "lost_too_often"} <= named.keys()
    assert {code: place for code, place in named.items() if code not in entries} == {}
    assert entries - named.keys() == {"permanent_error"}


def test_codes_of_jobs_that_the_source_does_not_name_are_passed_on() -> None:
    unnamed = {
        call.place.partition(":")[0]
        for module in modules()
        if module.name.startswith(("headrace.workers", "headrace.domain"))
        for name, position in CODES_OF_JOBS.items()
        for call in module.calls(name)
        if BLANK in call.texts(position, "code")
    }

    assert unnamed == PASSED_ON


def test_every_error_code_of_the_api_has_an_entry() -> None:
    named = codes(("headrace.api",), CODES_OF_API)
    named |= {code: kind.__name__ for kind, (_, code) in CODES.items()}
    named |= dict.fromkeys(get_args(Refusal), UnauthenticatedError.__name__)
    named |= dict.fromkeys((*problems._STATUS_CODES.values(), problems._INTERNAL[1]), "problems.py")
    for code in (BLANK, *OF_LOGS):
        named.pop(code, None)
    entries = set(rows(section("Error codes of the API"), 0)) | set(rows(section("Closed streams"), 1))

    assert len(named) > 80
    assert {code: place for code, place in named.items() if code not in entries} == {}
    assert entries - named.keys() == {"no_api", "syntax_error"}


def test_the_statuses_of_the_page_are_those_of_the_api() -> None:
    wrong = []
    for codes_of_row, status_of_row in re.findall(
        r"^\| ([^|]+) \| ([\d, ]+) \|", section("Error codes of the API"), re.MULTILINE
    ):
        for code in spans(codes_of_row):
            statuses = {str(status) for status, known in CODES.values() if known == code}
            if statuses and statuses != set(status_of_row.split(", ")):
                wrong.append((code, status_of_row, statuses))

    assert wrong == []


def test_every_reason_of_a_waiting_job_has_an_entry() -> None:
    (module,) = [module for module in modules() if module.name == waiting.__name__]
    reasons = {
        node.value
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier()
    }

    assert set(rows(section("A job waits"), 0)) - {"waiting_for"} == reasons


def test_no_row_is_repeated() -> None:
    rows_of_page = [line for line in PAGE.splitlines() if line.startswith("| `")]

    assert len(rows_of_page) == len(set(rows_of_page))
    assert len(rows_of_page) > 200
