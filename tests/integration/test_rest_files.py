"""Files over REST: streaming upload, range requests, and refusal of broken uploads."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from msgspec import structs

from headrace.domain.files.models import File
from headrace.domain.files.service import FileService
from support.harness import Api
from support.shared_api import problem

BOUNDARY = "edge"
HEADERS = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(name: str = "file", filename: str | None = "a.bin", content: bytes = b"x") -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\nContent-Type: text/plain\r\n\r\n"
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def blob_dir(api: Api) -> Path:
    folder: Path = api.app.state.services.settings.blob_dir
    return folder


def stored(api: Api) -> set[Path]:
    return {path for path in blob_dir(api).rglob("*") if path.is_file()}


async def test_a_downloaded_file_equals_its_upload(ada: Api) -> None:
    content = os.urandom(3_000_000)
    before = stored(ada)

    response = await ada.http.post("/api/v1/files", files={"file": ("riff \u00e9.wav", content, "audio/wav")})

    assert response.status_code == 201, response.text
    file = response.json()
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert (file["name"], file["media_type"], file["size"]) == ("riff \u00e9.wav", "audio/wav", len(content))
    assert (file["job_id"], file["step"]) == (None, None)
    assert (await ada.http.get(f"/api/v1/files/{file['id']}")).json() == file
    download = await ada.http.get(f"/api/v1/files/{file['id']}/content")
    assert (download.content, download.headers["content-type"]) == (content, "audio/wav")
    assert str(blob_dir(ada)) not in response.text
    assert len(stored(ada) - before) == 1


async def test_invalid_media_types_become_octet_stream(ada: Api) -> None:
    for kind in ("\u4e2d\u6587/\u4e2d", "text", "a/b/c", "\uff11/\uff11", "x" * 200 + "/y"):
        body = part().replace(b"text/plain", kind.encode())
        file = (await ada.http.post("/api/v1/files", content=body + END, headers=HEADERS)).json()

        content = await ada.http.get(f"/api/v1/files/{file['id']}/content")

        assert (file["media_type"], content.status_code) == ("application/octet-stream", 200)


async def test_range_requests_return_a_part_of_a_file(ada: Api) -> None:
    file = (await ada.http.post("/api/v1/files", files={"file": ("a", b"0123456789")})).json()
    url = f"/api/v1/files/{file['id']}/content"

    middle = await ada.http.get(url, headers={"Range": "bytes=2-4"})
    end = await ada.http.get(url, headers={"Range": "bytes=-3"})
    behind = await ada.http.get(url, headers={"Range": "bytes=10-"})
    several = await ada.http.get(url, headers={"Range": "bytes=0-1,3-4"})
    other = await ada.http.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    same = await ada.http.get(url, headers={"If-None-Match": f'"{file["sha256"]}"'})

    assert (middle.status_code, middle.content, middle.headers["content-range"]) == (
        206,
        b"234",
        "bytes 2-4/10",
    )
    assert (end.status_code, end.content) == (206, b"789")
    assert (behind.status_code, behind.headers["content-range"]) == (416, "bytes */10")
    assert (several.status_code, several.content) == (200, b"0123456789")
    assert (other.status_code, other.content) == (200, b"0123456789")
    assert (same.status_code, same.content) == (304, b"")


async def test_an_empty_file_can_be_uploaded(ada: Api) -> None:
    response = await ada.http.post("/api/v1/files", files={"file": ("empty.txt", b"")})

    assert (response.status_code, response.json()["size"]) == (201, 0)
    content = await ada.http.get(f"/api/v1/files/{response.json()['id']}/content")
    assert (content.status_code, content.content) == (200, b"")


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"plain", {"content-type": "text/plain"}, 415),
        (b"{}", {"content-type": "application/json"}, 415),
        (b"", {"content-type": "multipart/form-data"}, 415),
        (b"", HEADERS, 400),
        (b"garbage", HEADERS, 400),
        (part(), HEADERS, 400),
        (part()[:-20], HEADERS, 400),
        (END, HEADERS, 422),
        (part(name="other") + END, HEADERS, 422),
        (part() + part() + END, HEADERS, 422),
        (part(filename=None) + END, HEADERS, 422),
        (part(filename="") + END, HEADERS, 422),
        (part(filename="..") + END, HEADERS, 422),
        (part(filename="x" * 300) + END, HEADERS, 422),
        (b"--" + BOUNDARY.encode() + b"\r\n" + b"X" * 100_000, HEADERS, 400),
    ],
)
async def test_broken_uploads_are_refused_and_store_nothing(
    ada: Api, content: bytes, headers: dict[str, str], status: int
) -> None:
    before = stored(ada)

    response = await ada.http.post("/api/v1/files", content=content, headers=headers)

    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/problem+json")
    assert stored(ada) == before


async def test_the_directory_in_a_file_name_is_dropped(ada: Api) -> None:
    response = await ada.http.post(
        "/api/v1/files", content=part(filename="/etc/passwd") + END, headers=HEADERS
    )

    assert (response.status_code, response.json()["name"]) == (201, "passwd")


async def test_a_too_large_file_is_refused_and_not_stored(ada: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    services = ada.app.state.services
    monkeypatch.setattr(services, "settings", structs.replace(services.settings, max_file_bytes=1000))
    monkeypatch.setattr(services.blobs, "_max_bytes", 1000)
    before = stored(ada)

    announced = await ada.http.post("/api/v1/files", files={"file": ("a", b"x" * 100_000)})

    assert (announced.status_code, announced.json()["code"]) == (413, "file_too_large")
    assert stored(ada) == before


async def test_a_deleted_file_is_not_found(ada: Api) -> None:
    file = (await ada.http.post("/api/v1/files", files={"file": ("a", b"x")})).json()
    url = f"/api/v1/files/{file['id']}"

    first = await ada.http.delete(url)
    second = await ada.http.delete(url)

    assert (first.status_code, second.status_code) == (204, 404)
    assert (await ada.http.get(f"{url}/content")).status_code == 404


async def test_an_upload_whose_bytes_were_removed_before_its_row_is_refused_and_leaves_no_row(
    ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = ada.app.state.services.blobs
    create = FileService.create

    async def create_late(self: FileService, file: File, renew: Callable[[], Awaitable[None]]) -> File:
        await asyncio.to_thread(blobs.remove, file.id)
        return await create(self, file, renew)

    with monkeypatch.context() as patched:
        patched.setattr(FileService, "create", create_late)
        response = await ada.http.post("/api/v1/files", files={"file": ("late", b"0123456789")})

    assert problem(response, 503, "file_gone")["detail"].endswith("send it again")
    assert response.headers["retry-after"]
    assert (await ada.http.get("/api/v1/files", params={"search": "late"})).json()["items"] == []
    assert (await ada.http.post("/api/v1/files", files={"file": ("late", b"0123456789")})).status_code == 201


async def test_the_bytes_of_an_upload_are_dated_when_their_row_is_written(
    ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = ada.app.state.services.blobs
    create = FileService.create

    async def create_late(self: FileService, file: File, renew: Callable[[], Awaitable[None]]) -> File:
        os.utime(blobs.path(file.id, file.blob_key), (0, 0))
        return await create(self, file, renew)

    monkeypatch.setattr(FileService, "create", create_late)
    before = stored(ada)
    response = await ada.http.post("/api/v1/files", files={"file": ("late", b"0123456789")})

    assert response.status_code == 201
    [path] = stored(ada) - before
    assert path.stat().st_mtime > 0


NAME = "na\u00efve \u20ac.txt"


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (f'filename="{NAME}"'.encode(), NAME),
        (b"filename*=UTF-8''na%C3%AFve%20%E2%82%AC.txt", NAME),
        (b"filename*=utf-8'en'na%C3%AFve%20%E2%82%AC.txt", NAME),
        (b"filename=\"plain.txt\"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.txt", NAME),
        (b"filename*=iso-8859-1''%A3%20rates.txt", "\u00a3 rates.txt"),
        ('filename="na\u00efve.txt"'.encode("latin-1"), "na\u00efve.txt"),
        (b'filename="\x80 rates.txt"', "\u20ac rates.txt"),
        (b'filename="a %22quoted%22 name.txt"', 'a "quoted" name.txt'),
        (b'filename="C:\\pictures\\a.txt"', "a.txt"),
        (b"filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "passwd"),
    ],
)
async def test_names_of_all_forms_are_read_and_come_back(ada: Api, parameters: bytes, name: str) -> None:
    body = part().replace(b'filename="a.bin"', parameters)

    response = await ada.http.post("/api/v1/files", content=body + END, headers=HEADERS)

    assert response.status_code == 201, response.text
    file = response.json()
    assert file["name"] == name
    download = await ada.http.get(f"/api/v1/files/{file['id']}/content")
    assert download.headers["content-disposition"].endswith(f"; filename*=UTF-8''{quote(name, safe='')}")
    assert download.headers["content-disposition"].isascii()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (b'filename="\x81.txt"', "the name of the file is neither UTF-8 nor Latin-1"),
        (b"filename*=UTF-8''%FF.txt", "filename* is not valid UTF-8"),
        (b"filename*=koi8-r''a.txt", "filename* is written as UTF-8''na%C3%AFve.txt"),
        (b"filename*=na%C3%AFve.txt", "filename* is written as UTF-8''na%C3%AFve.txt"),
        (b"filename*=UTF-8''%zz", "filename* is written as UTF-8''na%C3%AFve.txt"),
        (b"filename*=UTF-8''", "the field 'file' has no filename"),
    ],
)
async def test_a_name_that_cannot_be_read_is_refused_with_a_sentence(
    ada: Api, parameters: bytes, message: str
) -> None:
    body = part().replace(b'filename="a.bin"', parameters)

    refused = problem(
        await ada.http.post("/api/v1/files", content=body + END, headers=HEADERS), 422, "validation_failed"
    )

    assert [error["path"] for error in refused["errors"]] == ["$.file"]
    assert refused["errors"][0]["message"].startswith(message)
