"""Uploads that are cut off or malformed, and ranges outside the file."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fuzz.conftest import rows
from fuzz.form import count, examples
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api

CONTENT = bytes(range(256)) * 4
SIZE = len(CONTENT)

LINES = st.sampled_from(
    [
        b'Content-Disposition: form-data; name="file"; filename="a.txt"',
        b'Content-Disposition: form-data; name="file"',
        b'Content-Disposition: form-data; name="other"; filename="b"',
        b'Content-Disposition: form-data; name="file"; filename="../../etc/passwd"',
        b'Content-Disposition: form-data; name="file"; filename="\x00"',
        b"Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''%ff%fe",
        b"Content-Disposition: attachment",
        b"Content-Type: text/plain",
        b"Content-Type: \xff/\xff",
        b"Content-Transfer-Encoding: base64",
        b"Content-Length: -1",
        b"X: " + b"y" * 9_000,
        b"",
        b"\x00",
    ]
)
PIECES = st.one_of(
    LINES.map(lambda line: line + b"\r\n"),
    st.sampled_from([b"--b\r\n", b"--b--\r\n", b"--b--", b"--c\r\n", b"\r\n", b"\n", b"\r\n--b\r\n", b"--"]),
    st.binary(max_size=40),
)
BODIES = st.lists(PIECES, max_size=10).map(b"".join)
KINDS = st.sampled_from(
    [
        "multipart/form-data; boundary=b",
        'multipart/form-data; boundary="b"',
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 300,
        "application/json",
        "application/x-www-form-urlencoded",
    ]
)
NUMBERS = st.integers(-5, 2 * SIZE).map(str) | st.sampled_from(["", "x", "9" * 30, "1.5", " 1", "+1"])
RANGES = st.builds(lambda first, last: f"bytes={first}-{last}", NUMBERS, NUMBERS) | st.sampled_from(
    [
        "bytes=0-0,5-6",
        "bytes=",
        "bytes=-",
        "bytes",
        "lines=0-1",
        "bytes=0-,",
        "bytes=--1",
        "",
        "bytes = 0-1",
        "BYTES=0-1",
    ]
)


@examples(250, 3_000)
@given(body=BODIES, kind=KINDS)
async def test_an_upload_is_stored_completely_or_leaves_nothing(
    keyed: Api, database: StatementPool, settings: Settings, no_logged_errors: None, body: bytes, kind: str
) -> None:
    before = await rows(database)
    kept = blobs(settings)

    response = await keyed.http.post("/api/v1/files", content=body, headers={"Content-Type": kind})

    count("uploads")
    after = await rows(database)
    if response.status_code == 201:
        assert after["files"] == before["files"] + 1
        assert blobs(settings) == kept + 1
    else:
        assert response.status_code in (400, 413, 415, 422), response.text
        assert response.json()["code"]
        assert (after, blobs(settings)) == (before, kept)


@examples(300, 3_000)
@given(requested_range=RANGES, condition=st.none() | st.sampled_from(['"x"', "", "W/", "yesterday"]))
async def test_a_range_request_returns_the_range_the_whole_file_or_416(
    keyed: Api, no_logged_errors: None, fixed: dict[str, Any], requested_range: str, condition: str | None
) -> None:
    headers = {"Range": requested_range} | ({} if condition is None else {"If-Range": condition})

    response = await keyed.http.get(f"/api/v1/files/{await uploaded(keyed, fixed)}/content", headers=headers)

    count("ranges")
    if response.status_code == 206:
        part = re.fullmatch(rf"bytes (\d+)-(\d+)/{SIZE}", response.headers["content-range"])
        assert part is not None
        assert response.content == CONTENT[int(part[1]) : int(part[2]) + 1] != b""
    elif response.status_code == 416:
        assert response.headers["content-range"] == f"bytes */{SIZE}"
    else:
        assert (response.status_code, response.content) == (200, CONTENT)


def blobs(settings: Settings) -> int:
    """Return the number of files in the store, with unfinished ones."""
    return sum(path.is_file() for path in settings.blob_dir.rglob("*"))


async def uploaded(api: Api, fixed: dict[str, Any]) -> str:
    """Upload a file once for all examples. Return its id."""
    if "id" not in fixed:
        response = await api.http.post("/api/v1/files", files={"file": ("all.bin", CONTENT)})
        fixed["id"] = response.json()["id"]
    file_id: str = fixed["id"]
    return file_id
