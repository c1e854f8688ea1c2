"""Bodies that are not JSON, too deep or of the wrong shape are refused, and leave no rows."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.conftest import rows
from fuzz.form import count, examples
from headrace.adapters.database import StatementPool
from support.harness import Api

REFUSALS = {400, 413, 415, 422}

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "pipeline",
    "version",
    "params",
    "run_at",
    "priority",
    "queue",
    "max_attempts",
    "timeout_seconds",
    "tags",
    "meta",
)
# The pipeline never exists, so even a body of the right shape is refused.
ORDERS = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=6), VALUES, max_size=6).map(
    lambda order: {"pipeline": "nothing_of_that_name", **order}
)
PATHS = st.sampled_from(["/jobs", "/jobs/batch"])


def nested(depth: int) -> bytes:
    return b'{"pipeline":"noop","params":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"


RAW = (
    st.binary(max_size=200)
    | st.integers(65, 5_000).map(nested)
    | st.text(max_size=40).map(lambda text: ('{"pipeline":"' + text + '"}').encode("utf-8", "surrogatepass"))
    | st.sampled_from(
        [
            b"",
            b"null",
            b"[]",
            b'{"pipeline":"noop"',
            b'{"pipeline":"noop"}}',
            b'{"pipeline":"noop","pipeline":1}',
            b'{"pipeline":"noop","params":{"a":1e999}}',
            b'{"pipeline":"noop","priority":NaN}',
            b'{"pipeline":"noop","meta":{"a":"\\u0000"}}',
            b'{"pipeline":"noop","meta":{"a":"\\ud800"}}',
            b'\xef\xbb\xbf{"pipeline":"noop"}',
            b'{"pipeline":"\xff"}',
            b'{"pipeline":"noop","meta":' + b"[" * 100_000,
        ]
    )
)


@pytest.mark.slow
@examples(300, 4_000)
@given(order=ORDERS, path=PATHS)
async def test_json_of_the_wrong_shape_is_refused(
    keyed: Api, database: StatementPool, no_logged_errors: None, order: dict[str, Any], path: str
) -> None:
    before = await rows(database)
    body = order if path == "/jobs" else {"jobs": [{"pipeline": "noop"}, order]}

    response = await keyed.http.post(
        f"/api/v1{path}", content=msgspec.json.encode(body), headers={"Content-Type": "application/json"}
    )

    count("JSON bodies")
    assert response.status_code in REFUSALS, response.text
    assert response.json()["code"]
    assert await rows(database) == before


@examples(300, 4_000)
@given(
    raw=RAW,
    kind=st.sampled_from(
        ["application/json", "text/plain", "", "application/json; charset=latin-1", "\xe9/x"]
    ),
)
async def test_malformed_bodies_are_refused(
    keyed: Api, database: StatementPool, no_logged_errors: None, raw: bytes, kind: str
) -> None:
    before = await rows(database)

    response = await keyed.http.post(
        "/api/v1/jobs", content=raw, headers={b"Content-Type": kind.encode("latin-1")}
    )

    count("raw bodies")
    assert response.status_code in REFUSALS, (response.status_code, response.text)
    assert response.json()["code"]
    assert await rows(database) == before
