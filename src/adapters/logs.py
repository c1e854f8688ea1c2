"""Logs: one line an event, readable in a terminal, JSON in production; credentials stand in none."""

import logging
import sys
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import structlog

from headrace.domain.redaction import REDACTED, names_a_secret, redacted, redacted_values

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Shorter ones are parts of words; where they stand in a URL, they are known by that.
_SHORTEST: Final = 6
# For those who render them.
_AS_THEY_ARE: Final = ("exc_info", "stack_info")
_NOISY: Final = ("arq", "httpx", "httpcore", "alembic", "asyncio")


def configure_logging(level: str, *, as_json: bool, secrets: Iterable[str] = ()) -> None:
    """Send our logs and those of libraries to standard error, in one form.

    What looks like a credential, is named like one, or is one of *secrets* is left out, of tracebacks, too.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                pad_event_to=24,
                # The pretty one shows local variables, and with them secrets.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    # The same list each time: a logger that was used before keeps the list that it met.
    processors = structlog.get_config()["processors"]
    processors[:] = [*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
    structlog.configure(
        processors=processors,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_named_secrets,
                *ending,
                _WithoutSecrets(secrets),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # uvicorn says two lines of every socket at its info level, with the whole address in them.
    logging.getLogger("uvicorn.error").setLevel(max(_LEVELS[level], logging.WARNING))


def _without_named_secrets(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    kept = {name: event[name] for name in _AS_THEY_ARE if name in event}
    return {**redacted_values(dict(event), names_a_secret), **kept}


class _WithoutSecrets:
    """The last word on a line, when it is a line: whatever made it, and however deep it stood."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # As it is, as JSON writes it and as Python shows it.
        written = {
            form
            for secret in secrets
            if len(secret) >= _SHORTEST
            for form in (secret, msgspec.json.encode(secret).decode()[1:-1], repr(secret)[1:-1])
        }
        self._secrets = sorted(written, key=len, reverse=True)

    def __call__(self, _logger: Any, _method: str, line: Any) -> str:
        text = str(line)
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return redacted(text)
