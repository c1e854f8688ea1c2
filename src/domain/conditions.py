"""The conditions in which PostgreSQL, Redis or the store of files cannot be used."""

from collections.abc import Callable
from enum import StrEnum
from typing import Literal

from msgspec import Struct

ServiceName = Literal["postgresql", "redis", "storage"]


class Condition(StrEnum):
    """Why a service cannot be used. The values appear in logs, in readiness and in `doctor`."""

    AWAY = "away"
    REFUSING = "refusing"
    READ_ONLY = "read-only"
    FULL = "full"
    OUT_OF_CONNECTIONS = "out of connections"
    SLOW = "slow"


class Trouble(Struct, frozen=True):
    """A failed call of a service.

    *reason*: the words of the error, for logs. *cause*: a more exact name than the condition, such as "wrong
    password", which everybody may read.
    """

    condition: Condition
    reason: str
    cause: str = ""

    def entry(self, service: ServiceName) -> str:
        """Return the entry of readiness: the service, and what is wrong with it if it answers."""
        return service if self.condition is Condition.AWAY else f"{service}: {self.cause or self.condition}"


Report = Callable[[Trouble], None]
"""Receives every failed call of one service."""


def ignore_trouble(_trouble: Trouble) -> None:
    """Report to nobody, for commands that answer by themselves."""
