"""Removes credentials from texts and JSON, recognised by their shape or their name. Pure."""

import re
from collections.abc import Callable
from typing import Any, Final

from headrace.domain.json_limits import MAX_JSON_DEPTH

REDACTED: Final = "[redacted]"

_NAMES: Final = r"(?:access_|refresh_|id_|job_)?token|client_secret|secret|api_?key|password|passwd|code"
# Each shape has hints, one of which the lower-case text must contain: most texts contain none and are skipped
# quickly. Callers choose the texts, so no pattern may backtrack over what it has matched.
_SHAPES: Final[tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...]] = (
    # Our API keys. The prefix before the secret identifies the key and is kept.
    (("hr_",), re.compile(r"(hr_[0-9a-f]{12})_[A-Za-z0-9_-]{16,}"), rf"\1_{REDACTED}"),
    # JSON Web Tokens, signed or encrypted.
    (("eyj",), re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){2,4}"), REDACTED),
    (("gh",), re.compile(r"\bgh[oprsu]_[A-Za-z0-9]{16,}"), REDACTED),
    (("bearer",), re.compile(r"(?i)\b(bearer\s+)(?=\S*\d|\S{16})[A-Za-z0-9._~+/=-]+"), rf"\1{REDACTED}"),
    (
        ("authorization",),
        re.compile(
            r"(?i)(authorization['\"]?\s*[:,=]\s*b?['\"]?(?:basic|digest|negotiate|token)\s+)[^\s'\",]+"
        ),
        rf"\1{REDACTED}",
    ),
    (
        ("cookie",),
        re.compile(r"(?i)(cookie['\"]?\s*[:,=]\s*b?['\"]?)[^\s'\"=]{1,256}=[^\r\n'\"]*"),
        rf"\1{REDACTED}",
    ),
    (("://",), re.compile(r"(://[^\s/:@]*):[^\s/]+@"), rf"\1:{REDACTED}@"),
    (("=",), re.compile(rf"(?i)((?:^|[?&\s'\"])(?:{_NAMES})=)[^\s&'\"<>]+"), rf"\1{REDACTED}"),
)
_WORDS: Final = frozenset(
    {"apikey", "authorization", "cookie", "cookies", "credential", "credentials", "passwd", "password"}
    | {"secret", "secrets", "token", "tokens"}
)
_PAIRS: Final = ("api_key", "private_key")


def redact(text: str) -> str:
    """Return *text* without anything that looks like a credential."""
    lower = text.lower()
    for hints, shape, replacement in _SHAPES:
        if any(hint in lower for hint in hints):
            text = shape.sub(replacement, text)
    return text


def is_secret_name(name: str) -> bool:
    """Return whether the name is that of a credential: `token`, `X-Api-Key`, `client_secret`, `code`."""
    plain = name.lower().replace("-", "_")
    return plain == "code" or not _WORDS.isdisjoint(plain.split("_")) or any(pair in plain for pair in _PAIRS)


def redact_values(value: Any, is_secret: Callable[[str], bool] = lambda _: False) -> Any:
    """Return plain JSON without credentials in its strings and without the values of secret names."""
    return _redacted(value, is_secret, MAX_JSON_DEPTH)


def _redacted(value: Any, is_secret: Callable[[str], bool], levels: int) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict | list) and not levels:
        return REDACTED
    if isinstance(value, dict):
        return {
            name: REDACTED
            if isinstance(name, str)
            and is_secret(name)
            and isinstance(item, str | bytes | dict | list | tuple)
            else _redacted(item, is_secret, levels - 1)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_redacted(item, is_secret, levels - 1) for item in value]
    return value
