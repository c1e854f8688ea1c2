"""What of a text must be neither kept nor shown: credentials, known by their shape or by their name. Pure."""

import re
from collections.abc import Callable
from typing import Any, Final

REDACTED: Final = "[redacted]"

_NAMES: Final = r"(?:access_|refresh_|id_|job_)?token|client_secret|secret|api_?key|password|passwd|code"
# Each with what must stand in the text in small letters: most texts hold none, and are read quickly. Anybody
# can have a text read, so none may begin anew within what it has just gone through.
_SHAPES: Final[tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...]] = (
    # Our API keys; what stands before the secret part tells which one it is.
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
_DEEPEST: Final = 64


def redact(text: str) -> str:
    """*text* without what looks like a credential."""
    low = text.lower()
    for hints, shape, instead in _SHAPES:
        if any(hint in low for hint in hints):
            text = shape.sub(instead, text)
    return text


def is_secret_name(name: str) -> bool:
    """Whether something of that name is a credential: `token`, `X-Api-Key`, `client_secret`, a `code`."""
    plain = name.lower().replace("-", "_")
    return plain == "code" or not _WORDS.isdisjoint(plain.split("_")) or any(pair in plain for pair in _PAIRS)


def redact_values(value: Any, is_secret: Callable[[str], bool] = lambda _: False) -> Any:
    """Plain JSON without credentials in its texts, and without the values whose names *is_secret* knows."""
    return _redacted(value, is_secret, _DEEPEST)


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
            and isinstance(one, str | bytes | dict | list | tuple)
            else _redacted(one, is_secret, levels - 1)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [_redacted(one, is_secret, levels - 1) for one in value]
    return value
