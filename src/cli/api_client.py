"""The REST API as the commands call it; whatever goes wrong becomes one sentence."""

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from cli.errors import BadTokenError, BadUrlError, RefusedError, UnreachableError

_TIMEOUT: Final = httpx.Timeout(30, connect=5)
_API: Final = "/api/v1"

Command = TypeVar("Command", bound=Callable[..., Any])


class ApiClient:
    """A client of one service, for one command."""

    def __init__(self, url: str, token: str | None) -> None:
        """*url* is where the service is, without `/api/v1`.

        Raises:
            BadUrlError: it is not one.
            BadTokenError: *token* cannot be sent.
        """
        self.url = url.rstrip("/")
        try:
            parts = urlsplit(self.url)
            _ = parts.port
            httpx.URL(self.url)
        except (ValueError, httpx.InvalidURL) as error:
            raise BadUrlError(url) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadUrlError(url)
        self.is_local = _is_loopback(parts.hostname)
        if token and not is_header_text(token):
            raise BadTokenError
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def job_socket(self, job_id: str, after: int) -> str:
        """The address of a job's stream."""
        scheme, _, rest = self.url.partition("://")
        socket_scheme = "wss" if scheme == "https" else "ws"
        return f"{socket_scheme}://{rest}{_API}/jobs/{job_id}/ws?after={after}&batch=true"

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The answer to GET *path* below `/api/v1`.

        Raises:
            UnreachableError: nothing answers there.
            RefusedError: the service says no.
        """
        return self._ask("GET", path, params={name: value for name, value in params.items() if value})

    def post(self, path: str, body: Any = None, *, key: str | None = None) -> dict[str, Any]:
        """The answer to POST *path*; raises as `get` does."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        return self._ask("POST", path, json=body, headers=headers)

    def upload(self, path: Path) -> dict[str, Any]:
        """Store a file; raises as `get` does."""
        with path.open("rb") as content:
            return self._ask("POST", "/files", files={"file": (path.name, content)})

    def download(self, file_id: str, target: Path) -> None:
        """Write a file's content to *target*; raises as `get` does."""
        with (
            self._client() as client,
            self._told(),
            client.stream("GET", f"{_API}/files/{file_id}/content") as answer,
        ):
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            with target.open("wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        with self._client() as client, self._told():
            answer = client.request(method, _API + quote(path), **more)
        if answer.is_error:
            raise _refusal(answer)
        try:
            return msgspec.json.decode(answer.content, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise UnreachableError(self.url, "what answers is not Headrace") from error

    def _client(self) -> httpx.Client:
        # A proxy of the environment is not on the way to this machine.
        return httpx.Client(
            base_url=self.url, headers=self.headers, timeout=_TIMEOUT, trust_env=not self.is_local
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise UnreachableError(self.url) from error
        except httpx.TimeoutException as error:
            raise UnreachableError(self.url, "it does not answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnreachableError(self.url, str(error).lower() or type(error).__name__) from error


def _refusal(answer: httpx.Response) -> RefusedError:
    try:
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.DecodeError:
        problem = {}
    faults = [(str(one.get("path")), str(one.get("message"))) for one in problem.get("errors") or ()]
    detail = problem.get("detail") or f"{answer.url} answers {answer.status_code} {answer.reason_phrase}"
    return RefusedError(str(detail), answer.status_code, str(problem.get("code", "")), faults)


def is_header_text(text: str) -> bool:
    """Whether a header of HTTP can carry *text* as it is."""
    return text.isascii() and text.isprintable() and text == text.strip()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
