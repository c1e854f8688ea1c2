"""The known name that a misspelt one probably stands for."""

import pytest

from headrace.domain.spelling import nearest

NAMES = ["state", "pipeline", "tag", "created_after", "created_before", "limit"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("stat", "state"),
        ("status", "state"),
        ("pipelines", "pipeline"),
        ("createdAfter", "created_after"),
        ("tags", "tag"),
        ("page", None),
        ("", None),
        ("s" * 65, None),
    ],
)
def test_the_most_similar_name_is_meant(name: str, meant: str | None) -> None:
    assert nearest(name, NAMES) == meant


def test_nothing_is_meant_where_nothing_is_known() -> None:
    assert nearest("state", []) is None
