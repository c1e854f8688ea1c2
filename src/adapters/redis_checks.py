"""Checks that Redis can be used: the login, its mode and policy, and the right to each command."""

import contextlib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from arq.constants import job_key_prefix
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from headrace.adapters.doorbell import arq_queue
from headrace.adapters.redis_client import CLOSE_ERRORS, REDIS_ERRORS, checked_reply, report_failure
from headrace.adapters.redis_tls import speaks_tls
from headrace.adapters.server_urls import ENDED_HANDSHAKES
from headrace.domain.conditions import Condition, Trouble
from headrace.domain.errors import HeadraceError

_JOB: Final = f"{job_key_prefix}headrace-check"
_RINGS: Final = arq_queue("headrace-check")
_LIMIT: Final = "headrace:limit:check"
_CHANNEL: Final = "headrace:check"
# Every command that is used, also by scripts, on keys and a channel with the real prefixes. None changes a
# key: XX changes only what exists.
_COMMANDS: Final[tuple[tuple[str | float, ...], ...]] = (
    ("INFO", "memory"),
    ("INFO", "server"),
    ("PING",),
    ("EVAL", "return 1", 0),
    ("SET", _JOB, "", "XX", "PX", 1),
    ("DEL", _JOB),
    ("ZADD", _RINGS, "XX", 0, "check"),
    ("ZCARD", _RINGS),
    ("ZPOPMIN", _RINGS),
    ("BZPOPMIN", _RINGS, 0.001),
    ("TIME",),
    ("GET", _LIMIT),
    ("SET", _LIMIT, "", "XX", "PX", 1),
    ("PUBLISH", _CHANNEL, ""),
    ("PUBSUB", "NUMSUB", _CHANNEL),
)
_CLUSTER: Final = ("MOVED", "CROSSSLOT", "CLUSTERDOWN", "cluster mode")
_REFUSALS: Final = {
    "unknown command": "missing command",
    "DB index is out of range": "no such database",
    "invalid DB index": "no such database",
}
_SAFE_POLICY: Final = "noeviction"
_SUBSCRIBE_SECONDS: Final = 2.0
_MAX_CAUSES: Final = 10
_RIGHTS: Final = (
    "needs ~arq:* ~headrace:* &headrace:* +@connection +@read +@write +@pubsub +@scripting +info +time"
)


class RedisRefusedError(HeadraceError):
    """Redis answers but cannot be used, until somebody changes it or HEADRACE_REDIS_URL.

    *reason* is a few words, for readiness.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"HEADRACE_REDIS_URL is refused: {reason}: {advice}")
        self.reason = reason
        self.trouble = Trouble(Condition.REFUSING, f"{reason}: {advice}", reason)


async def require_usable(redis: Redis) -> bool:
    """Check that Redis can be used. Returns False if it is away.

    Raises:
        RedisRefusedError: it cannot be used.
    """
    try:
        refusal = await find_refusal(redis) or await _find_subscribe_refusal(redis)
    except REDIS_ERRORS as error:
        refusal = await _find_tls_refusal(redis)
        if refusal is None:
            report_failure(redis, error)
            return False
    if refusal is not None:
        raise refusal
    return True


async def find_refusal(redis: Redis) -> RedisRefusedError | None:
    """Return why Redis cannot be used; None if it can. It takes one round trip.

    Raises:
        RedisError, OSError, TimeoutError: Redis is away, or does not serve at the moment.
    """
    pipeline = redis.pipeline(transaction=False)
    for command in _COMMANDS:
        pipeline.execute_command(*command)
    try:
        with checked_reply():
            replies: Sequence[Any] = await pipeline.execute(raise_on_error=False)
            memory, server, *_ = replies
            if (refusal := _judge_mode(server)) is not None:
                return refusal
            for command, reply in zip(_COMMANDS, replies, strict=True):
                if isinstance(reply, NoPermissionError):
                    return _missing_right(command)
                if isinstance(reply, Exception):
                    raise reply
            return _judge_policy(memory)
    except REDIS_ERRORS as error:
        return _refusal_of(error)


async def _find_subscribe_refusal(redis: Redis) -> RedisRefusedError | None:
    pubsub = redis.pubsub()
    try:
        with checked_reply():
            await pubsub.subscribe(_CHANNEL)
            await pubsub.get_message(timeout=_SUBSCRIBE_SECONDS)
    except NoPermissionError:
        return _missing_right(("SUBSCRIBE", _CHANNEL))
    finally:
        with contextlib.suppress(*CLOSE_ERRORS):
            await pubsub.aclose()  # type: ignore[no-untyped-call]
    return None


async def _find_tls_refusal(redis: Redis) -> RedisRefusedError | None:
    """Return the refusal of a server that does not answer because only one side speaks TLS."""
    expects_tls = issubclass(redis.connection_pool.connection_class, SSLConnection)
    place = redis.connection_pool.connection_kwargs
    if "host" not in place or await speaks_tls(place["host"], place["port"]) in (None, expects_tls):
        return None
    advice = "has no TLS there: use redis://" if expects_tls else "expects TLS there: use rediss://"
    return RedisRefusedError("TLS fails", f"the server {advice}")


def _judge_mode(server: Mapping[str, Any] | Exception) -> RedisRefusedError | None:
    mode = "" if isinstance(server, Exception) else server.get("redis_mode") or server.get("server_mode")
    if mode not in ("cluster", "sentinel"):
        return None
    return RedisRefusedError(
        f"{mode} mode", f"Redis {str(mode).title()} is not supported; use a single Redis or Valkey"
    )


def _judge_policy(memory: Mapping[str, Any]) -> RedisRefusedError | None:
    policy = str(memory.get("maxmemory_policy", _SAFE_POLICY))
    if policy == _SAFE_POLICY:
        return None
    return RedisRefusedError(
        f"maxmemory-policy {policy}",
        "it may drop rings under memory pressure; run: redis-cli CONFIG SET maxmemory-policy noeviction",
    )


def _missing_right(command: Sequence[str | float]) -> RedisRefusedError:
    name, place = command[0], command[1] if len(command) > 1 else ""
    prefix = str(place).removesuffix("check").removesuffix("headrace-")
    on = f" on {prefix}*" if prefix != place else ""
    return RedisRefusedError(f"missing right to {name}{on}", f"the user {_RIGHTS}")


def _refusal_of(error: Exception) -> RedisRefusedError | None:
    """Return the refusal that *error*, or a cause of it, is.

    Raises:
        RedisError, OSError, TimeoutError: *error*, if it is none.
    """
    for cause in _causes(error):
        if (refusal := _judge(cause)) is not None:
            return refusal
    raise error


def _judge(error: BaseException) -> RedisRefusedError | None:
    words = str(error).partition("\n")[0][:200]
    if isinstance(error, AuthenticationError):
        return RedisRefusedError("no password" if "required" in words else "wrong password", words)
    if isinstance(error, NoPermissionError):
        return RedisRefusedError("missing right", f"{words}; the user {_RIGHTS}")
    if isinstance(error, ResponseError):
        if any(sign in words for sign in _CLUSTER):
            return RedisRefusedError("cluster mode", "Redis Cluster is not supported")
        reason = next((reason for sign, reason in _REFUSALS.items() if sign in words), None)
        return None if reason is None else RedisRefusedError(reason, words)
    if isinstance(error, ssl.SSLError) and not isinstance(error, ENDED_HANDSHAKES):
        return RedisRefusedError("TLS fails", str(error))
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and those behind it, at most `_MAX_CAUSES`: redis-py wraps those of the system."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__
