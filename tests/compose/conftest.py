"""The service in containers: `make compose-test` runs these tests, `make test` does not."""

import os
import sys
from collections.abc import Iterator

import pytest

from headrace_client import Client
from support.containers import NoEngineError, Stack, find_engine, open_stack

collect_ignore_glob = [] if os.environ.get("CONTAINER_TESTS") else ["test_*.py"]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The running service. It is started once, and each test leaves it running."""
    try:
        engine = find_engine()
    except NoEngineError as error:
        pytest.skip(f"no containers: {error}")
    with open_stack(engine, tmp_path_factory.mktemp("compose")) as stack:
        seconds = stack.up()
        image, base = stack.sizes()
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            sys.stdout.write(
                f"\nfrom up to a healthy service: {seconds:.0f} s"
                f"\nthe image: {image / 1e6:.0f} MB, of which its python image has {base / 1e6:.0f} MB\n"
            )
        yield stack


@pytest.fixture(scope="session")
def key(stack: Stack) -> str:
    """The key of the first admin."""
    return stack.read_first_key()


@pytest.fixture
def client(stack: Stack, key: str) -> Iterator[Client]:
    """A client with the key of the first admin."""
    with Client(stack.url, token=key) as client:
        yield client
