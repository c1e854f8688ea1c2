"""Schemathesis checks the whole API against its contract: all checks, a fixed seed, with and without keys."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from fuzz.form import IS_FULL, SEED, count
from support.harness import Api
from support.users import Person

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 150 if IS_FULL else 8
LONGEST_SECONDS = 1500 if IS_FULL else 350


@pytest.mark.slow
@pytest.mark.parametrize("caller", ["admin", "user", "nobody"])
async def test_every_response_conforms_to_the_contract(
    api: Api, no_logged_errors: None, caller: str, tmp_path: Path
) -> None:
    scopes = {"admin": ["admin"], "user": ["jobs:read", "jobs:write", "files:*"], "nobody": []}[caller]
    person = Person(api, "root" if caller == "admin" else "ada")
    header = [f"-HAuthorization: Bearer {(await person.key(*scopes))['key']}"] if scopes else []

    fuzzing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", f"--config-file={CONFIG}", "run", *header),
        *("--checks=all", f"--seed={SEED}", f"--max-examples={EXAMPLES}", "--continue-on-failure"),
        *("--warnings=off", "--output-truncate=false", f"{api.http.base_url}/openapi.json"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output = (await asyncio.wait_for(fuzzing.communicate(), LONGEST_SECONDS))[0].decode()
    finally:
        if fuzzing.returncode is None:
            fuzzing.kill()

    cases = re.search(r"(\d+) generated", output)
    assert cases is not None, output[-3000:]
    count(f"contract as {caller}", int(cases[1]))
    # A failing request may be many kilobytes long.
    assert fuzzing.returncode == 0, "\n".join(line[:300] for line in output.splitlines())[-6000:]
