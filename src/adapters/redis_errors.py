"""Names what is wrong with Redis by its errors, for logs, readiness and `doctor`."""

from typing import Final

from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, ReadOnlyError

from headrace.domain.conditions import Condition, Trouble

_BY_CLASS: Final = (
    (AuthenticationError, Condition.REFUSING, "wrong password"),
    (NoPermissionError, Condition.REFUSING, "missing rights"),
    (OutOfMemoryError, Condition.FULL, ""),
    (ReadOnlyError, Condition.READ_ONLY, ""),
)
# Errors for which redis-py has no class; those of scripts hold the error of their command.
_BY_TEXT: Final = (
    ("command not allowed when used memory", Condition.FULL, ""),
    ("MISCONF", Condition.READ_ONLY, "cannot save to its disk"),
    ("read only replica", Condition.READ_ONLY, ""),
    ("ACL failure", Condition.REFUSING, "missing rights"),
    ("NOPERM", Condition.REFUSING, "missing rights"),
    ("max number of clients reached", Condition.OUT_OF_CONNECTIONS, ""),
)


def redis_trouble(error: Exception) -> Trouble:
    """Return what one of `REDIS_ERRORS` says about Redis."""
    text = str(error)
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    for kind, condition, cause in _BY_CLASS:
        if isinstance(error, kind):
            return Trouble(condition, reason, cause)
    for part, condition, cause in _BY_TEXT:
        if part in text:
            return Trouble(condition, reason, cause)
    return Trouble(Condition.AWAY, reason)
