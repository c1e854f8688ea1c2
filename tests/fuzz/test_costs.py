"""No input holds the event loop for long: hypothesis searches for those that do.

What it has found stands below as examples. See `loop_meter.py` for what is measured.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

import msgspec
import pytest
import websockets
from hypothesis import HealthCheck, Phase, example, given, seed, target
from hypothesis import settings as profile
from hypothesis import strategies as st

from fuzz.cost_requests import ADD_PARTS, ROUTES, bodies_of_findings, head_of, send
from fuzz.costly_inputs import accepted_queries, json_bodies, queries, texts
from fuzz.form import FORM, IS_FULL, SEED, costs
from fuzz.loop_meter import Budget, LoopMeter
from headrace.adapters.database import StatementPool
from headrace.adapters.gc_tuning import collect_requests, freeze_present_objects
from headrace.adapters.messages import MessageRefusedError, MessageSigner
from headrace.settings import ProviderSettings, Settings
from support.harness import Api, serving
from support.users import Person, behind_proxy

# Each of the searches ends after this time; the examples are always tried.
SECONDS: Final = {"short": 1.0, "check": 6.0, "full": 75.0}[FORM]
MAX_EXAMPLES: Final = 2_500 if IS_FULL else 150
HEAD_BYTES: Final = 60_000
BODY_BYTES: Final = 1 << 20 if IS_FULL else 1 << 19
NESTED: Final = st.recursive(
    st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=20)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)

searching: Final = profile(
    max_examples=MAX_EXAMPLES,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.target),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def meter() -> Iterator[LoopMeter]:
    """Measure the loop with the cycle collector tuned as in a server."""
    freeze_present_objects()
    collect_requests()
    with LoopMeter().installed() as installed:
        yield installed
    costs.append(installed.dearest)


@pytest.fixture
def budget(meter: LoopMeter) -> Budget:
    return Budget(SECONDS, meter)


@pytest.fixture
def query_budget(meter: LoopMeter) -> Budget:
    return Budget(SECONDS, meter, examples=6)


@pytest.fixture
async def token_api(settings: Settings) -> AsyncIterator[Api]:
    """An API where users sign in at a provider."""
    github = ProviderSettings(name="github", client_id="id", client_secret="secret")
    changes = {"auth": "token", "providers": ("github",), "provider_settings": (github,)}
    async with serving(msgspec.structs.replace(behind_proxy(settings), **changes)) as running:
        yield running


@pytest.mark.slow
@bodies_of_findings
@seed(SEED)
@searching
@given(route=st.sampled_from(ROUTES), body=json_bodies(BODY_BYTES))
async def test_no_body_holds_the_loop(
    api: Api, meter: LoopMeter, budget: Budget, route: tuple[str, str], body: bytes
) -> None:
    budget.spend()
    head = head_of(api, *route)
    held = await meter.check(f"{route} {body[:90]!r}, {len(body)} bytes", lambda _: send(api, head, body))
    target(held)


@pytest.mark.slow
@example(query='{job(id:"""' + "x\n" * 40_000 + '"""){id}}')
@example(query="{" + " ".join(f"jobs{index}" for index in range(1_900)) + "}")
@seed(SEED)
@searching
@given(query=queries(90_000))
async def test_no_graphql_document_holds_the_loop(
    api: Api, meter: LoopMeter, budget: Budget, query: str
) -> None:
    budget.spend()
    head, body = head_of(api, "POST", "/graphql"), msgspec.json.encode({"query": query})
    target(await meter.check(f"the query {query[:90]!r}, {len(query)}", lambda _: send(api, head, body)))


@pytest.fixture
async def filled_api(api: Api, database: StatementPool) -> Api:
    """The API with 130 jobs of ada, which have 100 steps and files each, and some values of 60 KiB."""
    jobs = [{"pipeline": "ticks", "tags": ["a", "b"]}] * 130
    response = await api.http.post(
        "/api/v1/jobs/batch", json={"jobs": jobs}, headers=Person(api, "ada").headers
    )
    assert response.status_code == 202
    await database.fetch(ADD_PARTS, msgspec.json.encode({"a": "x" * 60_000}).decode())
    return api


def in_jobs(fields: Iterable[str]) -> str:
    """Return a query of those fields of as many jobs as one list has."""
    return f"{{jobs(limit:100){{{' '.join(fields)}}}}}"


@pytest.mark.slow
@example(query="{jobs(limit:100){steps(limit:100){name}}}")
@example(query="{jobs(limit:100){files(limit:100){name}}}")
@example(query="{jobs(limit:70){params meta result id waitingFor steps(limit:1){output}}}")
@example(query=in_jobs(f"a{number}:waitingFor" for number in range(30)))
@example(query=in_jobs(f"a{number}:pipeline{{name}}" for number in range(30)))
@example(
    query=f"{{{' '.join(f'a{number}:jobs(limit:100){{id state owner{{id}}}}' for number in range(30))}}}"
)
@seed(SEED)
@searching
@given(query=accepted_queries())
async def test_no_accepted_query_holds_the_loop(
    filled_api: Api, meter: LoopMeter, query_budget: Budget, query: str
) -> None:
    query_budget.spend()
    head, body = head_of(filled_api, "POST", "/graphql"), msgspec.json.encode({"query": query})
    target(await meter.check(f"the query {query[:200]!r}", lambda _: send(filled_api, head, body)))


HEADERS: Final = ("Cookie", "Content-Type", "Accept", "Authorization", "X-Forwarded-For", "Range", "Origin")
SIGN_IN_ROUTES: Final = (
    ("POST", "/auth/refresh?"),
    ("GET", "/auth/callback/github?state="),
    ("POST", "/auth/logout?"),
    ("GET", "/auth/login/github?return_to="),
)
HEAD_ROUTES: Final = (
    ("GET", "/api/v1/jobs?"),
    ("GET", "/api/v1/jobs/x/stream?token="),
    ("POST", "/api/v1/files?"),
    ("GET", "/api/v1/pipelines/"),
    ("GET", "/"),
)


@pytest.mark.slow
@example(route=HEAD_ROUTES[0], name="Accept", value="*/*", query="a&" * 25_000)
@example(route=HEAD_ROUTES[1], name="Accept", value="*/*", query="&a=1" * 12_000)
@example(route=HEAD_ROUTES[2], name="Content-Type", value="a/b" + ";a=b" * 13_000, query="")
@example(route=HEAD_ROUTES[3], name="Accept", value="*/*", query="cookie:" * 8_000)
@seed(SEED)
@searching
@given(
    route=st.sampled_from(HEAD_ROUTES),
    name=st.sampled_from(HEADERS),
    value=texts(HEAD_BYTES // 2),
    query=texts(HEAD_BYTES // 2),
)
async def test_no_head_holds_the_loop(
    api: Api, meter: LoopMeter, budget: Budget, route: tuple[str, str], name: str, value: str, query: str
) -> None:
    budget.spend()
    await check_head(api, meter, route, name, value, query)


@pytest.mark.slow
@example(route=SIGN_IN_ROUTES[0], name="Cookie", value='headrace_refresh="' + "\\" * 50_000 + '"', query="")
@example(route=SIGN_IN_ROUTES[2], name="Cookie", value='a="' + "\\1" * 25_000 + '"', query="")
@seed(SEED)
@searching
@given(
    route=st.sampled_from(SIGN_IN_ROUTES),
    name=st.sampled_from(HEADERS),
    value=texts(HEAD_BYTES // 2),
    query=texts(HEAD_BYTES // 2),
)
async def test_no_head_of_a_sign_in_holds_the_loop(
    token_api: Api,
    meter: LoopMeter,
    budget: Budget,
    route: tuple[str, str],
    name: str,
    value: str,
    query: str,
) -> None:
    budget.spend()
    await check_head(token_api, meter, route, name, value, query)


async def check_head(
    api: Api, meter: LoopMeter, route: tuple[str, str], name: str, value: str, query: str
) -> None:
    """Check a request with one header and a query. Each repetition differs, because Litestar has caches."""
    query = query.replace(" ", "+").replace("\t", "+")

    async def work(repetition: int) -> None:
        head = head_of(api, route[0], f"{route[1]}{query}&{repetition}")
        await send(api, head + f"{name}: {value};{repetition}\r\n".encode())

    target(await meter.check(f"{route} {name} {value[:40]!r} {query[:40]!r}", work))


@pytest.mark.slow
@seed(SEED)
@searching
@given(disposition=texts(8_000), other=texts(8_000), content=texts(100_000), boundary=texts(60))
async def test_no_part_of_an_upload_holds_the_loop(
    api: Api, meter: LoopMeter, budget: Budget, disposition: str, other: str, content: str, boundary: str
) -> None:
    budget.spend()
    border = "".join(filter(str.isalnum, boundary)) or "b"
    headers = Person(api, "ada").headers | {"Content-Type": f"multipart/form-data; boundary={border}"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    body = (
        f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="{disposition}"\r\n'
        f"X-Other: {other}\r\n\r\n{content}\r\n--{border}"
    ).encode()
    head = f"POST /api/v1/files HTTP/1.1\r\n{lines}".encode()
    target(await meter.check(f"the upload {body[:120]!r}", lambda _: send(api, head, body)))


@pytest.mark.slow
@example(message=b'{"type":"resume","after":' + b"9" * 60_000 + b"}")
@example(message=b'{"type":"ping","x":[' + b"1e308," * 10_000 + b"1]}")
@seed(SEED)
@searching
@given(message=json_bodies(60_000))
async def test_no_message_of_a_client_holds_the_loop(
    api: Api, meter: LoopMeter, budget: Budget, message: bytes
) -> None:
    budget.spend()
    ada = Person(api, "ada")
    job_id = await ada.submit("ticks", params={"count": 1})
    path = f"/api/v1/jobs/{job_id}/ws"
    async with websockets.connect(api.ws + path, additional_headers=ada.headers) as socket:

        async def exchange(_: int) -> None:
            await socket.send(message, text=True)
            await socket.send('{"type":"ping"}')
            async with asyncio.timeout(20):
                while msgspec.json.decode(await socket.recv())["type"] not in ("pong", "error"):
                    pass

        with suppress(websockets.ConnectionClosed):
            target(await meter.check(f"the message {message[:90]!r}", exchange))


@seed(SEED)
@searching
@given(shape=st.sampled_from(["e", "p", "x"]), value=NESTED, count=st.sampled_from([1, 1_000, 50_000]))
async def test_no_message_of_redis_holds_the_loop(
    meter: LoopMeter, budget: Budget, shape: str, value: Any, count: int
) -> None:
    budget.spend()
    signer = MessageSigner("key")
    unsigned = msgspec.msgpack.encode([shape, *[[value]] * count])[: 1 << 18]
    raw = unsigned + signer._sign("channel", unsigned)

    async def decode() -> None:
        with suppress(MessageRefusedError):
            signer.decode("channel", raw)

    target(await meter.check(f"a message {raw[:60]!r}", lambda _: asyncio.create_task(decode())))
