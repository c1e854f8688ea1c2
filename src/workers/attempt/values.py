"""Between a step's values and the JSON that is stored of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.domain.errors import HeadraceError
from headrace.domain.events.types import JobError
from headrace.domain.json_values import has_nul
from headrace.domain.redaction import redacted, redacted_values

_FIELDS_BYTES: Final = 8 * 1024
_SAID_BYTES: Final = 16 * 1024
_ESCAPED_NUL: Final = "\\u0000"


class OutputError(HeadraceError):
    """What a step returned cannot be stored; no retry mends that."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def said_by(error: BaseException) -> str:
    """What an error of a user's says, whatever its class makes of `str`."""
    return _shown(error, str)


def _shown(value: object, show: Callable[[Any], str]) -> str:
    try:
        return plain_text(show(value), _SAID_BYTES)
    except Exception:  # noqa: BLE001  (a broken `__str__` or `__repr__` is the user's, too)
        return "(its text cannot be had)"


def plain_text(text: str, limit: int) -> str:
    """*text* as PostgreSQL can keep it: no NUL, no lone surrogates, at most *limit* bytes."""
    encoded = text.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode("utf-8", "ignore") + "..."


def safe_text(text: str, limit: int) -> str:
    """`plain_text` without credentials."""
    # Cut first, since a text may be of any size: what a cut leaves of a credential is beyond the limit.
    return plain_text(redacted(text[: limit * 2]), limit)


def plain_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a log line as JSON without credentials; what is no JSON is shown as Python shows it."""
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        key = plain_text(str(name), 200)
        try:
            # In lists, since it will lie deeper where it is sent than here.
            plain[key] = msgspec.json.decode(msgspec.json.encode([[[[value]]]]))[0][0][0][0]
        except (TypeError, ValueError, OverflowError, RecursionError):
            plain[key] = plain_text(_shown(value, repr), 500)
    if len(msgspec.json.encode(plain)) > _FIELDS_BYTES:
        return {"dropped": f"the fields had more than {_FIELDS_BYTES} bytes"}
    return dict(redacted_values(plain))


def bytes_or_path(source: object) -> bytes | Path:
    """What a step hands over as a file.

    Raises:
        TypeError: it is neither bytes nor a path.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | Path):
        return Path(source)
    raise TypeError(f"a file is bytes or a path, not {type(source).__name__}")


def job_error(code: object, message: str, step: str | None = None) -> JobError:
    """An error that can be stored, whatever stands in it."""
    return JobError(code=plain_text(str(code), 64), message=safe_text(message, 4_000), step=step)


def encode_value(value: Any, what: str, limit: int) -> str:
    """*value* as JSON that PostgreSQL can keep.

    Raises:
        OutputError: `output_invalid` (no JSON, a NUL character), `output_too_large` (over *limit* bytes).
    """
    try:
        encoded = msgspec.json.encode(value).decode()
        plain = msgspec.json.decode(encoded)  # a `msgspec.Raw` may hold anything
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise OutputError("output_invalid", f"{what} cannot be stored as JSON: {error}") from error
    if len(encoded) > limit:
        raise OutputError(
            "output_too_large",
            f"{what} has {len(encoded)} bytes as JSON, at most {limit} are stored; save a file instead",
        )
    if _ESCAPED_NUL in encoded and has_nul(plain):
        raise OutputError("output_invalid", f"{what} holds a NUL character, which cannot be stored")
    return encoded
