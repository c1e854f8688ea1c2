"""The REST API for the commands. Each error becomes one sentence for the user."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import headrace_client
from headrace.cli.errors import BadTokenError, BadUrlError, RefusedError, UnreachableError
from headrace.cli.start_notice import wait_while_starting
from headrace.settings import read_data_dir
from headrace_client import AsyncClient, Client
from headrace_client.address import Address

# The user waits at the screen, so errors are shown soon.
_RETRIES: Final = 1


class ApiClient:
    """A client of one service, for one command. It returns answers as decoded JSON, for display."""

    def __init__(self, url: str, token: str | None, *, waits: bool = True) -> None:
        """Prepare calls to the service at *url*, which is given without `/api/v1`.

        If `headrace up` is just starting it on this machine, wait for that, unless *waits* is false.

        Raises:
            BadUrlError: *url* is not the URL of a service.
            BadTokenError: *token* cannot be sent in a header.
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
        if waits and address.is_local:
            wait_while_starting(address.url, read_data_dir())

    def open_async(self) -> AsyncClient:
        """Open an asynchronous client of the same service. It raises the errors of `headrace_client`."""
        return AsyncClient(self.url, self._token, retries=_RETRIES)

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """GET *path* below `/api/v1`. Parameters without a value are left out.

        Raises:
            UnreachableError: no service answers at the URL.
            RefusedError: the service answers with an error.
        """
        return self._request("GET", path, params=given(params))

    def post(self, path: str, body: Any = None, key: str | None = None) -> dict[str, Any]:
        """POST *path*. With an idempotency *key* the call can be retried. Raises the errors of `get`."""
        return self._request("POST", path, body=body, key=key)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PATCH *path*. Raises the errors of `get`."""
        return self._request("PATCH", path, body=body)

    def delete(self, path: str, **params: Any) -> None:
        """DELETE *path*. Parameters without a value are left out. Raises the errors of `get`."""
        self._request("DELETE", path, params=given(params))

    def submit(
        self, pipeline: str, params: dict[str, Any], key: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Submit a job and return it. Options without a value are left out. Raises the errors of `get`."""
        body = {"pipeline": pipeline, "params": params, **given(options)}
        return self.post("/jobs", body, key or uuid4().hex)

    def upload(self, path: Path) -> str:
        """Upload a file and return its id. Raises the errors of `get`."""
        with self._client() as client:
            return str(client.upload(path).id)

    def download(self, file_id: str, target: Path) -> None:
        """Write the content of a file to *target*. Raises the errors of `get`."""
        with self._client() as client:
            client.download(file_id, target)

    def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        with self._client() as client:
            return client.request(method, path, **options)

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


def given(params: dict[str, Any]) -> dict[str, Any]:
    """Return *params* without those that have no value."""
    return {name: value for name, value in params.items() if value is not None and value != ()}
