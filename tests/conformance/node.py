"""Runs the TypeScript client in a Node process, through its arguments and its output."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

TYPESCRIPT: Final = Path(__file__).parents[2] / "clients" / "typescript"
NODE: Final = shutil.which("node") or "node"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
_DRIVER: Final = Path(__file__).with_name("driver.mjs")


async def node_watch(
    transport: str,
    url: str,
    job_id: str,
    after: int,
    on_frame: Callable[[bytes], None],
    *,
    token: str | None = None,
    on_report: Callable[[str | None], None] = lambda _: None,
    **options: Any,
) -> str:
    """Call *on_frame* with every frame of `watch`. Return `ended`, or the code or name of the error.

    *on_report* is called with what `tell` is called with, and at the end with the message of the error.
    """
    request = {
        "transport": transport,
        "url": url,
        "job": job_id,
        "after": after,
        "options": options,
        "token": token,
    }
    async for line in _lines("watch", request):
        if "told" in line:
            on_report(line["told"])
        elif "ending" in line:
            on_report(line.get("message"))
            return str(line["ending"])
        else:
            on_frame(json.dumps(line["frame"]).encode())
    raise AssertionError("the driver printed nothing")


async def node_call(url: str, name: str, *arguments: Any) -> dict[str, Any]:
    """Call a method of the client. Return its result as `result`, or the thrown error as `error`."""
    request = {"url": url, "name": name, "arguments": arguments}
    results: list[dict[str, Any]] = [line async for line in _lines("call", request)]
    return results[0]


async def node_script(url: str, script: str) -> Any:
    """Run JavaScript that uses `client` and calls `print` once. Return what it prints."""
    results: list[Any] = [line async for line in _lines("script", {"url": url, "script": script})]
    return results[0]


async def _lines(mode: str, request: dict[str, Any]) -> Any:
    # Only Node 20 needs the flag for WebSocket.
    process = await asyncio.create_subprocess_exec(
        NODE,
        "--no-warnings",
        "--experimental-websocket",
        _DRIVER,
        mode,
        json.dumps(request),
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            yield json.loads(line)
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
