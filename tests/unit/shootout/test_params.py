"""Parameters that the schema accepts or refuses before a job exists."""

from typing import Any

import jsonschema_rs
import msgspec
import pytest

from headrace.pipelines.shootout import shootout
from headrace.pipelines.shootout.audio import ASSETS
from headrace.pipelines.shootout.params import ShootoutParams

VALIDATOR = jsonschema_rs.validator_for(shootout.params_schema())


def params(*blocks: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"chains": [{"name": "A", "blocks": list(blocks)}], **others}


def test_the_demo_is_accepted() -> None:
    demo = msgspec.json.decode((ASSETS / "demo.json").read_bytes())

    decoded = msgspec.convert(demo, ShootoutParams)

    assert VALIDATOR.is_valid(demo)
    assert [chain.name for chain in decoded.chains] == ["Clean", "Crunch", "High gain", "Ambient"]


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param({}, id="no chains"),
        pytest.param({"chains": []}, id="an empty list of chains"),
        pytest.param({"chains": [{"name": f"{n}", "blocks": []} for n in range(13)]}, id="13 chains"),
        pytest.param({"chains": [{"name": "", "blocks": []}]}, id="an empty name"),
        pytest.param({"chains": [{"name": "   ", "blocks": []}]}, id="a blank name"),
        pytest.param({"chains": [{"name": "x" * 81, "blocks": []}]}, id="a name of 81 letters"),
        pytest.param(params({"type": "chorus"}), id="an unknown block"),
        pytest.param(params({"db": 3}), id="a block without a type"),
        pytest.param(params({"type": "gain", "db": 61}), id="too much gain"),
        pytest.param(params({"type": "gain", "db": 1, "pan": 0}), id="an unknown field of a block"),
        pytest.param(params({"type": "drive", "amount_db": 20, "oversample": 3}), id="oversampling by 3"),
        pytest.param(params({"type": "drive", "amount_db": 20, "curve": "cubic"}), id="an unknown curve"),
        pytest.param(params({"type": "eq", "bands": []}), id="an eq without bands"),
        pytest.param(
            params({"type": "eq", "bands": [{"type": "peak", "frequency": 30_000, "gain_db": 3}]}),
            id="a frequency above what is there",
        ),
        pytest.param(
            params({"type": "eq", "bands": [{"type": "peak", "frequency": 300}]}), id="a peak without a gain"
        ),
        pytest.param(params({"type": "ir", "file": "../etc/passwd"}), id="a path as a file"),
        pytest.param(params({"type": "delay", "time_ms": 300, "feedback": 1.0}), id="an endless echo"),
        pytest.param(params(di="built-in"), id="a DI that is no file"),
        pytest.param(params(match={"target_lufs": 0}), id="a target out of range"),
        pytest.param(params(match={"policy": "each"}), id="an unknown policy"),
        pytest.param(params(version=2), id="another version"),
        pytest.param(params(speed=2), id="an unknown field"),
    ],
)
def test_schema_and_struct_refuse_invalid_params(refused: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(refused)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(refused, ShootoutParams)


def test_a_chain_without_blocks_is_accepted() -> None:
    assert VALIDATOR.is_valid(params())


def test_twelve_chains_are_accepted() -> None:
    assert VALIDATOR.is_valid({"chains": [{"name": f"{n}", "blocks": []} for n in range(12)]})
