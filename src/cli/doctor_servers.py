"""The checks of `doctor` on PostgreSQL and Redis servers that the settings name."""

from collections.abc import Iterator

import asyncpg

from headrace.adapters.connection_counts import OF_A_WORKER, of_an_api
from headrace.adapters.database import StatementPool
from headrace.adapters.database_errors import trouble_of_check
from headrace.adapters.installed_schema import fetch_schema_name, require_usable_schema
from headrace.adapters.probes import find_database_trouble, find_redis_trouble
from headrace.adapters.readiness import check_readiness
from headrace.adapters.redis_checks import RedisRefusedError, require_usable
from headrace.adapters.redis_client import REDIS_ERRORS, build_redis, close_redis
from headrace.adapters.redis_errors import redis_trouble
from headrace.adapters.redis_url import RedisAddress
from headrace.adapters.revisions import current_revision, waiting_revisions
from headrace.adapters.server_conditions import ServerConditions, fetch_conditions
from headrace.adapters.servers import Finding
from headrace.cli.doctor_upkeep import check_upkeep
from headrace.domain.conditions import Condition, Trouble
from headrace.domain.database import TRANSIENT
from headrace.settings import Settings


def _describe(variable: str, trouble: Trouble) -> str:
    """Return what is wrong with the server at the URL in *variable*."""
    reason = trouble.reason.splitlines()[0]
    match trouble.condition:
        case Condition.AWAY:
            return f"{variable} does not answer: {reason}"
        case Condition.REFUSING:
            return f"{variable} is refused: {reason}"
        case _:
            return f"{variable} answers, but it is {trouble.cause or trouble.condition}: {reason}"


async def check_database(settings: Settings) -> list[Finding]:
    """Check that PostgreSQL answers, accepts writes and has a schema that fits, and what its tables say."""
    pool = await StatementPool.open(settings.database, size=1)
    try:
        if (trouble := await find_database_trouble(pool)) is not None:
            return [Finding("PostgreSQL", False, _describe("HEADRACE_DATABASE_URL", trouble))]
        row = (await pool.fetch("SELECT current_setting('server_version') AS version"))[0]
        schema = await fetch_schema_name(pool)
        await require_usable_schema(pool)
        readiness = await check_readiness(pool, None)
        is_current = not readiness.missing
        upkeep = await check_upkeep(pool, settings) if is_current else []
        conditions = await fetch_conditions(pool)
        waiting = waiting_revisions(await current_revision(pool)) if is_current else []
    except TRANSIENT as error:
        return [Finding("PostgreSQL", False, _describe("HEADRACE_DATABASE_URL", trouble_of_check(error)))]
    except asyncpg.PostgresError as error:
        trouble = Trouble(Condition.REFUSING, str(error))
        return [Finding("PostgreSQL", False, _describe("HEADRACE_DATABASE_URL", trouble))]
    finally:
        await pool.close()
    findings = [Finding("PostgreSQL", True, f"{row['version']} answers at HEADRACE_DATABASE_URL")]
    if is_current:
        findings.append(Finding("PostgreSQL", True, f"this release can work with the schema {schema}"))
    else:
        fault = readiness.schema_fault or "it takes too long to answer"
        findings.append(Finding("PostgreSQL", False, f"schema {schema}: {fault}"))
    if waiting:
        text = (
            f"revision {', '.join(waiting)} waits until older processes have ended: headrace migrate --post"
        )
        findings.append(Finding("PostgreSQL", True, text, is_note=True))
    return [*findings, *_condition_findings(conditions, settings), *upkeep]


def _condition_findings(conditions: ServerConditions, settings: Settings) -> Iterator[Finding]:
    needed = of_an_api(settings.database_connections) + OF_A_WORKER
    for error in (
        conditions.find_clock_fault(),
        conditions.find_connection_fault(needed, "an API and a worker"),
    ):
        if error is not None:
            yield Finding("PostgreSQL", False, str(error))


async def check_redis(address: RedisAddress) -> list[Finding]:
    """Check that Redis answers, accepts writes and evicts nothing."""
    redis = build_redis(address)
    try:
        await require_usable(redis)
        server = await redis.info("server")
        trouble = await find_redis_trouble(redis)
    except REDIS_ERRORS as error:
        trouble = redis_trouble(error)
    except RedisRefusedError as error:
        return [Finding("Redis", False, str(error))]
    finally:
        await close_redis(redis)
    if trouble is not None:
        return [Finding("Redis", False, _describe("HEADRACE_REDIS_URL", trouble))]
    name = "Valkey" if "valkey_version" in server else "Redis"
    number = server.get("valkey_version") or server.get("redis_version", "")
    return [Finding("Redis", True, f"{name} {number} answers at HEADRACE_REDIS_URL and evicts nothing")]
