"""A migration that meets the locks of others is tried again, each one as often."""

import asyncpg
import pytest
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from headrace.adapters import migrations
from headrace.adapters.migrations import AlembicCommands, SchemaLockedError

TRIES = 3


class Run:
    """Fails with *error* each time, after it has committed a migration in the calls named by *committing*."""

    def __init__(self, error: Exception, committing: tuple[int, ...] = ()) -> None:
        self.calls = 0
        self._error = error
        self._committing = committing

    def __call__(self, config: Config, _revision: str) -> None:
        self.calls += 1
        config.attributes["progress"].committed += self.calls in self._committing
        raise self._error


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> AlembicCommands:
    monkeypatch.setattr(migrations, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(migrations, "_MAX_TRIES", TRIES)
    return AlembicCommands("postgresql://localhost/nowhere")


def wrapped(cause: Exception) -> DBAPIError:
    """Return an error as SQLAlchemy raises it."""
    driver_error = Exception()
    driver_error.__cause__ = cause
    return DBAPIError("SELECT 1", None, driver_error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.LockNotAvailableError(),
        asyncpg.DeadlockDetectedError(),
        wrapped(asyncpg.LockNotAvailableError()),
    ],
)
@pytest.mark.parametrize(("committing", "calls"), [((), TRIES), ((2,), 1 + TRIES), ((1, 2, 4), 3 + TRIES)])
def test_each_migration_has_all_tries(
    commands: AlembicCommands, error: Exception, committing: tuple[int, ...], calls: int
) -> None:
    run = Run(error, committing)

    with pytest.raises(SchemaLockedError):
        commands._retry_for_locks(run, "head")

    assert run.calls == calls


@pytest.mark.parametrize("error", [asyncpg.DivisionByZeroError(), wrapped(asyncpg.DivisionByZeroError())])
def test_another_error_ends_the_run(commands: AlembicCommands, error: Exception) -> None:
    run = Run(error)

    with pytest.raises(type(error)):
        commands._retry_for_locks(run, "head")

    assert run.calls == 1
