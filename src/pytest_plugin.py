"""The pytest plugin: a whole Headrace with your pipelines, for tests that need real servers.

It is loaded in every run of pytest, so it imports nothing of the service before a test asks for one.
"""

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headrace.testing.service import LiveService

_OPTION = "headrace_pipelines"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        _OPTION,
        "Modules, files or folders with the pipelines of the fixture `headrace_service`.",
        type="args",
        default=[],
    )


@pytest.fixture(scope="session")
def headrace_service(request: pytest.FixtureRequest) -> "Iterator[LiveService]":
    """A Headrace of the session's own: PostgreSQL, Redis, the API, and a worker with your pipelines.

    It runs those that `headrace_pipelines` names in the settings of pytest. The tests of a session share it.
    """
    service = importlib.import_module("headrace.testing.service")
    with service.running_service(request.config.getini(_OPTION), request.config.rootpath) as running:
        yield running
