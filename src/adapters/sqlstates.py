"""Judges the errors that PostgreSQL answers by their SQLSTATE, for workers and the API alike.

Source of the codes: PostgreSQL's documentation, appendix "PostgreSQL Error Codes".
"""

from typing import Final, Literal

Judgement = Literal["away", "busy", "refusing", "misconfigured", "value", "bug"]
"""`away`: the connection is gone, and the outcome unknown · `busy`: rolled back, it may pass at once ·
`refusing`: rolled back, until the server is well again (a full disk, read-only) · `misconfigured`: so too,
until somebody gives the login, the database or the right back · `value`: the values of the statement are at
fault · `bug`: the statement itself is."""

QUERY_CANCELED: Final = "57014"
"""A statement ran into its time limit, or an operator cancelled it."""
IDLE_IN_TRANSACTION: Final = "25P03"
"""A transaction did nothing for too long; PostgreSQL has ended its session."""

_BY_CODE: Final[dict[str, Judgement]] = {
    "40003": "away",  # statement_completion_unknown
    "42501": "misconfigured",  # insufficient_privilege
    "53300": "away",  # too_many_connections
    QUERY_CANCELED: "busy",
    IDLE_IN_TRANSACTION: "busy",
}
_BY_CLASS: Final[dict[str, Judgement]] = {
    "08": "away",  # connection exception
    "21": "value",  # cardinality violation
    "22": "value",  # data exception
    "23": "value",  # integrity constraint violation
    "25": "refusing",  # invalid transaction state: read-only
    "28": "misconfigured",  # invalid authorization specification
    "3D": "misconfigured",  # invalid catalog name
    "40": "busy",  # transaction rollback
    "53": "refusing",  # insufficient resources
    "54": "value",  # program limit exceeded
    "55": "busy",  # object not in prerequisite state: a lock
    "57": "away",  # operator intervention: a shutdown
    "58": "refusing",  # system error
    "F0": "refusing",  # configuration file error
    "XX": "refusing",  # internal error
}


def judge(sqlstate: str | None) -> Judgement:
    """Return what an error with *sqlstate*, five characters, says about the statement."""
    code = sqlstate or ""
    return _BY_CODE.get(code) or _BY_CLASS.get(code[:2], "bug")


_MISCONFIGURATIONS: Final = {
    "28P01": "wrong password",
    "28": "login refused",
    "3D": "no such database",
    "42501": "missing rights",
}


def misconfiguration(sqlstate: str | None) -> str:
    """Return a name for a `misconfigured` *sqlstate*, without the names of roles and databases."""
    code = sqlstate or ""
    return _MISCONFIGURATIONS.get(code) or _MISCONFIGURATIONS.get(code[:2], "not as configured")
