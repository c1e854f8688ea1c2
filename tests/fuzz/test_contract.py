"""The whole API against its own contract, by schemathesis: all checks, fixed seed, signed in and not."""

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
LONGEST_SECONDS = 1500 if IS_FULL else 110


@pytest.mark.slow
@pytest.mark.parametrize("who", ["admin", "user", "nobody"])
async def test_every_answer_is_in_the_contract(api: Api, no_surprise: None, who: str, tmp_path: Path) -> None:
    scopes = {"admin": ["admin"], "user": ["jobs:read", "jobs:write", "files:*"], "nobody": []}[who]
    person = Person(api, "root" if who == "admin" else "ada")
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
        said = (await asyncio.wait_for(fuzzing.communicate(), LONGEST_SECONDS))[0].decode()
    finally:
        if fuzzing.returncode is None:
            fuzzing.kill()

    cases = re.search(r"(\d+) generated", said)
    assert cases is not None, said[-3000:]
    count(f"contract as {who}", int(cases[1]))
    assert fuzzing.returncode == 0, said[-6000:]
