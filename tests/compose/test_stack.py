"""The service of compose.yaml starts, scales, loses containers, is replaced under load, keeps its data."""

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headrace_client import Client, Event, HeadraceClientError
from support.containers import SERVICES, NoEngineError, Stack, find_engine, open_stack
from support.patience import PATIENCE_SECONDS

# Docker Hub's python:3.13-slim has at most 125 MB, and the image is to have 250 MB at most.
OWN_BYTES = 125_000_000


try:
    ENGINE = find_engine()
except NoEngineError as error:
    pytest.skip(f"no containers: {error}", allow_module_level=True)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The running service. It is started once, and each test leaves it running."""
    with open_stack(ENGINE, tmp_path_factory.mktemp("compose")) as stack:
        seconds = stack.up()
        image, base = stack.sizes()
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            sys.stdout.write(
                f"\nfrom up to a healthy service: {seconds:.0f} s"
                f"\nthe image: {image / 1e6:.0f} MB, of which its python image has {base / 1e6:.0f} MB\n"
            )
        yield stack


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    """The key of the first admin."""
    return stack.read_first_key()


@pytest.fixture
def client(stack: Stack, key: str) -> Iterator[Client]:
    """A client with the key of the first admin."""
    with Client(stack.url, token=key) as client:
        yield client


def count(client: Client, seconds: int) -> str:
    """Submit a job that counts for about *seconds*, and return its id."""
    return str(client.submit("ticks", {"count": seconds * 10, "interval_ms": 100}).id)


def assert_whole(client: Client, job: str) -> None:
    """Check that the history of a job has no hole and that the job has succeeded."""
    assert client.wait(job, timeout=PATIENCE_SECONDS).state == "succeeded"
    events = client.events(job, limit=1000)
    assert [event.seq for event in events.items] == list(range(1, len(events.items) + 1))


def test_the_image_is_small(stack: Stack) -> None:
    image, base = stack.sizes()

    assert image - base <= OWN_BYTES


def test_an_operator_runs_a_first_job_and_watches_it(client: Client) -> None:
    job = client.submit("ticks", {"count": 3})

    with client.watch(job.id) as frames:
        types = [frame.type for frame in frames]

    assert (types[0], types[-1]) == ("hello", "end")
    assert_whole(client, str(job.id))


def test_a_worker_runs_as_any_user_of_group_0(stack: Stack, client: Client) -> None:
    passwords = {
        name: (stack.folder / "secrets" / f"{name}_password").read_text() for name in ("database", "redis")
    }
    environment = {
        "HEADRACE_DATABASE_URL": f"postgresql://headrace:{passwords['database']}@postgres:5432/headrace",
        "HEADRACE_REDIS_URL": f"redis://:{passwords['redis']}@redis:6379/0",
        "HEADRACE_BUNDLED": "noop",
        "HEADRACE_SECRET_KEY": (stack.folder / "secrets" / "secret_key").read_text(),
    }
    with stack.container(
        *("--user", "4242:0", "--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp"),  # noqa: S108
        *("--volume", "/var/lib/headrace"),
        environment=environment,
        command=("worker", "--queue", "any-user"),
    ) as container:
        job = client.submit("noop", queue="any-user")
        assert_whole(client, str(job.id))
        assert stack.is_healthy(container, port="8001")
        assert stack.engine("exec", container, "id", "-u").strip() == "4242"


def test_jobs_outlive_a_worker_that_is_killed(stack: Stack, client: Client) -> None:
    stack.scale("worker", 3)
    assert len(stack.containers("worker")) == 3
    stack.wait_until_ready()
    jobs = [count(client, 5) for _ in range(12)]

    stack.engine("kill", "--signal", "KILL", stack.containers("worker")[-1])

    for job in jobs:
        assert_whole(client, job)


def test_the_api_is_replaced_under_load_without_a_failed_submission_or_a_hole(
    stack: Stack, client: Client, key: str
) -> None:
    stack.scale("api", 2)
    stack.wait_until(lambda: stack.ready_servers() == 2, "the proxy does not use both APIs")
    watched = count(client, 20)
    with submitting(stack.url, key) as (accepted, failed), watching(client, watched) as seen:
        for container in stack.containers("api"):
            before = len(accepted)
            stack.engine("restart", "-t", "20", container)
            stack.wait_until(lambda: stack.ready_servers() == 2, "the proxy does not use the new API")
            stack.wait_until(lambda size=before: len(accepted) > size)  # type: ignore[misc]

    assert failed == []
    assert seen == list(range(1, len(seen) + 1))
    assert_whole(client, watched)
    for job in accepted:
        assert_whole(client, job)


def test_each_service_can_be_restarted(stack: Stack, client: Client) -> None:
    job = count(client, 10)

    for service in SERVICES:
        for container in stack.containers(service):
            stack.engine("restart", "-t", "30", container, seconds=2 * PATIENCE_SECONDS)
            stack.wait_until_ready()

    assert_whole(client, job)
    assert_whole(client, str(client.submit("ticks", {"count": 2}).id))


def test_jobs_and_the_first_key_are_there_after_down_and_up(stack: Stack, client: Client, key: str) -> None:
    job = client.submit("ticks", {"count": 2})
    assert_whole(client, str(job.id))

    stack.down()
    stack.up()

    assert stack.read_first_key() == key
    assert_whole(client, str(job.id))


@contextmanager
def submitting(url: str, key: str) -> Iterator[tuple[list[str], list[str]]]:
    """Submit jobs one after the other for the block; yield the ids of those accepted, and the refusals."""
    accepted: list[str] = []
    failed: list[str] = []
    is_over = threading.Event()

    def run() -> None:
        with Client(url, token=key) as client:
            for number in itertools.count():
                if is_over.is_set():
                    return
                try:
                    accepted.append(str(client.submit("noop", meta={"number": number}).id))
                except HeadraceClientError as error:
                    failed.append(repr(error))
                time.sleep(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield accepted, failed
    finally:
        is_over.set()
        thread.join(PATIENCE_SECONDS)


@contextmanager
def watching(client: Client, job: str) -> Iterator[list[int]]:
    """Watch a job to its end; the list has the numbers of its events when the block is left."""
    numbers: list[int] = []

    def run() -> None:
        with client.watch(job) as frames:
            numbers.extend(frame.seq for frame in frames if isinstance(frame, Event))

    thread = threading.Thread(target=run)
    thread.start()
    yield numbers
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
