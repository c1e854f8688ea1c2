"""The import contracts that list the modules of the API leave none out."""

import tomllib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
CONTRACTS: Final = {
    contract["name"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("only the protocols, and the command that starts them, know uvicorn", "source_modules"),
        ("the protocols under uvicorn know nothing else of the API", "forbidden_modules"),
    ],
)
def test_a_contract_lists_every_module_of_the_api_but_the_protocols(name: str, key: str) -> None:
    modules = {
        f"headrace.api.{path.stem}"
        for path in (ROOT / "src" / "api").iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").is_file())
    }

    assert len(modules) >= 20
    assert modules - set(CONTRACTS[name][key]) == {"headrace.api.server"}
