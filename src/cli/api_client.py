"""The REST API as the commands call it; whatever goes wrong becomes one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import headrace_client
from headrace.cli.errors import BadTokenError, BadUrlError, RefusedError, UnreachableError
from headrace_client import AsyncClient, Client
from headrace_client.address import Address

# Somebody waits at the screen.
_RETRIES: Final = 1


class ApiClient:
    """A client of one service, for one command: answers as they come, to be shown."""

    def __init__(self, url: str, token: str | None) -> None:
        """*url* is where the service is, without `/api/v1`.

        Raises:
            BadUrlError: it is not one.
            BadTokenError: *token* cannot be sent.
        """
        self._token = token
        try:
            address = Address(url, token)
        except headrace_client.BadUrlError as error:
            raise BadUrlError(url) from error
        except headrace_client.BadTokenError as error:
            raise BadTokenError from error
        self.url = address.url
        self.is_local = address.is_local

    def open_async(self) -> AsyncClient:
        """A client of the same service for an event loop; its errors are its own."""
        return AsyncClient(self.url, self._token, retries=_RETRIES)

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The answer to GET *path* below `/api/v1`.

        Raises:
            UnreachableError: nothing answers there.
            RefusedError: the service says no.
        """
        return self._ask("GET", path, params={name: value for name, value in params.items() if value})

    def post(self, path: str) -> dict[str, Any]:
        """The answer to POST *path*; raises as `get` does."""
        return self._ask("POST", path)

    def submit(self, pipeline: str, params: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        """The job that was submitted; raises as `get` does."""
        body = {"pipeline": pipeline, "params": params}
        # A key of its own makes it safe to send again.
        return self._ask("POST", "/jobs", body=body, key=key or uuid4().hex)

    def upload(self, path: Path) -> str:
        """Store a file; returns its id, and raises as `get` does."""
        with self._client() as client:
            return str(client.upload(path).id)

    def download(self, file_id: str, target: Path) -> None:
        """Write a file's content to *target*; raises as `get` does."""
        with self._client() as client:
            client.download(file_id, target)

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        with self._client() as client:
            return client.request(method, path, **more)

    @contextmanager
    def _client(self) -> Iterator[Client]:
        try:
            with Client(self.url, self._token, retries=_RETRIES) as client:
                yield client
        except headrace_client.ApiError as error:
            faults = [(fault.path, fault.message) for fault in error.errors]
            raise RefusedError(error.detail, error.status, error.code, faults) from error
        except headrace_client.UnreachableError as error:
            raise UnreachableError(error.url, error.reason) from error
