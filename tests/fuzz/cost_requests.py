"""The requests of the searches for costly inputs, those that were found before, and rows to read."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from hypothesis import example

from support.harness import Api
from support.users import Person

ROUTES: Final = (
    ("POST", "/api/v1/jobs"),
    ("POST", "/api/v1/jobs/batch"),
    ("POST", "/api/v1/presets"),
    ("POST", "/api/v1/tags"),
    ("PATCH", "/api/v1/jobs/01900000-0000-7000-8000-000000000000"),
    ("POST", "/graphql"),
    ("POST", "/auth/refresh"),
)
ADD_PARTS: Final = """
WITH those AS (SELECT id, owner_id FROM jobs), texts AS (
    UPDATE jobs SET params = $1::text::json, meta = $1::text::json
), made AS (
    INSERT INTO files (id, owner_id, job_id, step, name, media_type, size, sha256, blob_key, created_at,
                       updated_at, meta)
    SELECT gen_random_uuid(), owner_id, id, 'tick', 'out-' || n, 'text/plain', 3, sha256('a'),
           gen_random_uuid(), now(), now(), '{"a": [1, 2]}'
    FROM those CROSS JOIN generate_series(1, 100) AS n
)
INSERT INTO step_runs (job_id, key, name, index, state, attempt, tries, items, output)
SELECT id, 'tick', 'tick', NULL::int, 'running', 1, 1,
       (SELECT json_agg(n) FROM generate_series(1, 100) AS n), NULL FROM those
UNION ALL SELECT id, 'tick[' || n || ']', 'tick', n, 'succeeded', 1, 1, NULL,
       CASE n WHEN 0 THEN $1::text::json ELSE '[3]' END
FROM those CROSS JOIN generate_series(0, 99) AS n
"""


async def send(api: Api, head: bytes, body: bytes = b"") -> None:
    """Send a request whose response does not matter."""
    port = api.http.base_url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError):
        writer.write(
            head + b"Host: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        async with asyncio.timeout(60):
            await reader.read()
    writer.close()


def head_of(api: Api, method: str, path: str) -> bytes:
    """Return the first lines of a request by a user who may do everything."""
    lines = [f"{method} {path} HTTP/1.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in Person(api, "ada").headers.items()]
    return "".join(f"{line}\r\n" for line in lines).encode()


def bodies_of_findings(test: Callable[..., Any]) -> Callable[..., Any]:
    """Add the bodies that held the loop for 20 ms to 20 s per MiB."""
    many = 1 << 18
    values = (
        *(b"1e308," * (many // 6), b"1e-320," * (many // 7), b"[[]]," * (many // 5), b"[]," * (many // 3)),
        *(b'"[","' * (many // 5), b'"1",' * (many // 4), b'"",' * (many // 3), b'"\\u0000",' * (many // 9)),
        *(b"1.5," * (many // 4), b"1.0," * (many // 4), b"1," * (many // 2), b'{"a":{}},' * (many // 9)),
        *((b"1." + b"0" * 130 + b"1,") * (many // 134), b'"\\\\' * (many // 4)),
    )
    for value in values:
        for route in ROUTES[:2]:
            start = b'{"pipeline":"ticks","params":{"count":[' if route == ROUTES[0] else b'{"jobs":['
            test = example(route=route, body=start + value + (b"1]}}" if route == ROUTES[0] else b"1]}"))(
                test
            )
    return example(route=("POST", "/auth/refresh"), body=b"[" + b"1e308," * 600 + b"1]")(test)
