"""The examples in the documentation run as written."""

import asyncio
import sys
from pathlib import Path

import pytest

from conformance.node import NODE, TYPESCRIPT, needs_node
from conformance.service import Service
from support.doc_blocks import texts
from support.patience import PATIENCE_SECONDS

MODULE = (TYPESCRIPT / "src" / "index.js").as_uri()


def examples(language: str) -> list[str]:
    """Return the examples of the page about clients, and the first one of the client's README."""
    readme = {"python": "clients/python/README.md", "js": "clients/typescript/README.md"}[language]
    return [*texts("docs/clients.md", language), texts(readme, language)[0]]


async def printed(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return output.decode()


@pytest.mark.parametrize("example", examples("python"), ids=["blocking", "async", "readme"])
async def test_python_examples_run(service: Service, example: str) -> None:
    output = await printed(sys.executable, "-c", example.replace("http://127.0.0.1:8000", service.url))

    assert "succeeded" in output


@needs_node
@pytest.mark.parametrize("example", examples("js"), ids=["page", "readme"])
async def test_javascript_examples_run(service: Service, example: str, tmp_path: Path) -> None:
    script = tmp_path / "example.mjs"
    script.write_text(
        example.replace("http://127.0.0.1:8000", service.url).replace('"headrace-client"', f'"{MODULE}"')
    )

    assert "succeeded" in await printed(NODE, str(script))
