"""Runs nginx before a service, with the configuration that a test gives."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from support.patience import PATIENCE_SECONDS

_PROGRAM: Final = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
_FOLDERS: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

needs_nginx = pytest.mark.skipif(_PROGRAM is None, reason="nginx is not installed")


@asynccontextmanager
async def behind_nginx(folder: Path, locations: str, settings: str = "") -> AsyncIterator[str]:
    """Run nginx with these *locations* in its only server and *settings* beside it, and yield its address."""
    port = _free_port()
    configuration = folder / "nginx.conf"
    paths = "\n".join(f"    {name}_temp_path {folder}/{name};" for name in _FOLDERS)
    configuration.write_text(
        f"""
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
{paths}
{settings}
    server {{
        listen 127.0.0.1:{port};
{locations}
    }}
}}
"""
    )
    process = await asyncio.create_subprocess_exec(
        str(_PROGRAM),
        "-e",
        f"{folder}/error.log",
        "-c",
        str(configuration),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not _accepts(port):
                assert process.returncode is None, (folder / "error.log").read_text()
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
