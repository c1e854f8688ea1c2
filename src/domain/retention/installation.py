"""Which terms hold in this installation: those of its settings, and the defaults that it has."""

from typing import Final

from headrace.domain.database import Database
from headrace.domain.retention.terms import ChosenTerms, RetentionTerms

_FETCH: Final = "SELECT keeps_everything FROM installations"


async def keeps_everything(database: Database) -> bool:
    """Return whether the installation was in use before there was retention.

    Without its row the answer is yes, because what was removed does not come back.
    """
    rows = await database.fetch(_FETCH)
    return bool(rows[0]["keeps_everything"]) if rows else True


async def resolve_terms(database: Database, chosen: ChosenTerms) -> RetentionTerms:
    """Return the terms in force in this installation."""
    return chosen.resolve(keeps_everything=await keeps_everything(database))
