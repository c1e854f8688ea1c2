"""Clients that are generated from the contracts compile and submit a job."""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from headrace.api.contract.asyncapi import describe
from support.harness import Api

ROOT: Final = Path(__file__).parents[2]
GENERATORS: Final = ROOT / ".generators"
SOURCES: Final = Path(__file__).with_name("generated")
TIMEOUT_SECONDS: Final = 120

pytestmark = pytest.mark.skipif(
    not (GENERATORS / ".installed").exists() or shutil.which("node") is None,
    reason="the generators are not installed; install them with: make generators",
)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its success, and return its output."""
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
async def folder(service: Api, tmp_path: Path) -> Path:
    """A folder with the contract of the running service and the packages of the generators."""
    (tmp_path / "openapi.json").write_bytes((await service.http.get("/openapi.json")).content)
    (tmp_path / "node_modules").symlink_to(GENERATORS / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path


def compile_typescript(folder: Path, *sources: str) -> None:
    options = {"strict": True, "target": "es2022", "module": "nodenext", "skipLibCheck": True, "types": []}
    project = {"compilerOptions": options, "files": sources}
    (folder / "tsconfig.json").write_text(json.dumps(project))
    run(folder / "node_modules" / ".bin" / "tsc", "--project", ".", cwd=folder)


async def test_the_client_of_openapi_typescript_compiles_and_submits_a_job(
    service: Api, folder: Path
) -> None:
    def build() -> str:
        binaries = folder / "node_modules" / ".bin"
        # Without the option, fields that have a default would have to be sent.
        options = ("--default-non-nullable=false", "-o", "schema.ts")
        run(binaries / "openapi-typescript", "openapi.json", *options, cwd=folder)
        shutil.copy(SOURCES / "submit.ts", folder)
        compile_typescript(folder, "submit.ts")
        return run("node", "submit.js", str(service.http.base_url).rstrip("/"), cwd=folder)

    printed = json.loads(await asyncio.to_thread(build))

    assert printed == {"state": "queued", "count": 2, "found": True}


async def test_the_client_of_openapi_python_client_submits_a_job(service: Api, folder: Path) -> None:
    def build() -> str:
        generator = GENERATORS / "venv" / "bin" / "openapi-python-client"
        # It formats what it generates with the ruff beside it, if that is on the path.
        path = f"{generator.parent}{os.pathsep}{os.environ['PATH']}"
        generated = run("env", f"PATH={path}", generator, "generate", "--path", "openapi.json", cwd=folder)
        assert "WARNING" not in generated, generated
        (package,) = folder.glob("*-client")
        assert package.name == "headrace-api-client"
        shutil.copy(SOURCES / "submit.py", package)
        python = GENERATORS / "venv" / "bin" / "python"
        return run(python, "submit.py", str(service.http.base_url).rstrip("/"), cwd=package)

    printed = json.loads(await asyncio.to_thread(build))

    assert printed == {"state": "queued", "count": 2, "found": True}


def test_types_of_frames_are_generated_from_the_contract_of_the_sockets(tmp_path: Path) -> None:
    schemas = describe()["components"]["schemas"]
    text = json.dumps(schemas).replace("#/components/schemas/", "#/definitions/")
    document = {"title": "Frames", "type": "object", "definitions": json.loads(text)}
    (tmp_path / "frames.json").write_text(json.dumps(document))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(GENERATORS / "node_modules")

    generated = run(
        tmp_path / "node_modules" / ".bin" / "json2ts",
        *("--input", "frames.json", "--unreachableDefinitions"),
        cwd=tmp_path,
    )
    (tmp_path / "frames_schema.ts").write_text(generated)
    shutil.copy(SOURCES / "frames.ts", tmp_path)
    compile_typescript(tmp_path, "frames.ts")

    assert all(f"export interface {name} " in generated for name in schemas)
