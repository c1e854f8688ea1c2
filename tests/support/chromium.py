"""A headless Chromium, driven over its DevTools protocol."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from support.harness import TLS
from support.patience import PATIENCE_SECONDS

_NAMES: Final = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM: Final = next((path for name in _NAMES if (path := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
_LISTENING: Final = re.compile(r"DevTools listening on ws://([^/]+)/")


class Page:
    """One page of the browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited if it is a promise."""
        self._number += 1
        params = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        message = {"id": self._number, "method": "Runtime.evaluate", "params": params}
        await self._socket.send(json.dumps(message))
        while (answer := json.loads(await self._socket.recv())).get("id") != self._number:
            pass
        result = answer["result"]
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until the expression is true."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await self.evaluate(expression):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def browsing(folder: Path, url: str) -> AsyncIterator[Page]:
    """Open *url* in a browser whose profile is in *folder*."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    draining = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (match := _LISTENING.search((await process.stderr.readline()).decode())):
                assert process.returncode is None
            draining = asyncio.create_task(process.stderr.read())
            async with httpx.AsyncClient(verify=TLS) as http:
                target = (await http.put(f"http://{match[1]}/json/new?{url}")).json()
        async with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
            page = Page(socket)
            await page.until("document.readyState === 'complete' && location.href !== 'about:blank'")
            yield page
    finally:
        # The helpers of the browser are in its session, and would outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if draining is not None:
            await draining
