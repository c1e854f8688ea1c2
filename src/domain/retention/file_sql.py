"""The statements about files that are past their term. They read a bounded number of rows."""

from typing import Final

from headrace.domain.jobs.states import JobState

_UNFINISHED: Final = ", ".join(f"('{state}')" for state in JobState if not state.is_final)
_HEX: Final = "[0-9a-f]"
# A job may name a file without the hyphens of its id.
_UUID: Final = "-?".join(f"{_HEX}{{{length}}}" for length in (8, 4, 4, 4, 12))
_MOST: Final = "LIMIT (SELECT $8::int) + 1"

# Ids go from part to part as arrays: PostgreSQL then reads rows by id, however many it expects.
# $1: the end of the term. $2 and $3, $4 and $5: after and up to which file, $6: how many of them are read.
# $7: owners whose files stay, $8: how many uses are read, $9: the only owner, or null for all.
_PAGE: Final = """
SELECT id, created_at, owner_id FROM (
    SELECT id, created_at, owner_id FROM files WHERE (created_at, id) > ($2, $3)
    ORDER BY created_at, id LIMIT $6
) next WHERE (created_at, id) <= ($4, $5)
"""
_OLD: Final = """
SELECT f.id, f.owner_id FROM files f WHERE f.id = ANY(ARRAY(SELECT id FROM page))
AND f.owner_id <> ALL($7::uuid[]) AND ($9::uuid IS NULL OR f.owner_id = $9) AND (
    f.job_id IS NULL
    OR EXISTS (SELECT FROM jobs j WHERE j.id = f.job_id AND NOT j.keep AND j.finished_at < $1)
)
"""
# The limit of each part keeps PostgreSQL from reading all unfinished jobs to join them with the owners.
_USES: Final = f"""
SELECT use.params FROM (SELECT DISTINCT owner_id FROM old) owner CROSS JOIN LATERAL (
    (SELECT job.params FROM (VALUES {_UNFINISHED}) unfinished(state) CROSS JOIN LATERAL (
        SELECT params::text FROM jobs WHERE owner_id = owner.owner_id AND state = unfinished.state
        ORDER BY created_at DESC, id DESC {_MOST}
    ) job)
    UNION ALL
    (SELECT params::text FROM presets WHERE owner_id = owner.owner_id ORDER BY title {_MOST})
) use {_MOST}
"""  # noqa: S608  (fragments of this code base)
_IS_CUT: Final = "(SELECT count(*) > $8 FROM uses)"
_UNNAMED: Final = f"""
SELECT id FROM old WHERE NOT {_IS_CUT} AND id NOT IN (
    SELECT match[1]::uuid FROM uses CROSS JOIN LATERAL regexp_matches(params, '({_UUID})', 'gi') AS match
)
"""  # noqa: S608  (fragments of this code base)


def _statement(lock: str, removed: str) -> str:
    """Return the statement for a page of files. *lock* and *removed* say what it does to those of no use."""
    return f"""
WITH page AS MATERIALIZED ({_PAGE}), old AS MATERIALIZED ({_OLD} {lock}), uses AS MATERIALIZED ({_USES}),
unnamed AS MATERIALIZED ({_UNNAMED}), removed AS ({removed})
SELECT (SELECT count(*) FROM page)::int AS files, (SELECT count(*) FROM removed)::int AS removed,
       {_IS_CUT} AS is_cut, ARRAY(SELECT DISTINCT owner_id FROM old) AS owners,
       last.created_at AS last_created_at, last.id AS last_id
FROM (SELECT) nothing LEFT JOIN (
    SELECT created_at, id FROM page ORDER BY created_at DESC, id DESC LIMIT 1
) last ON true
"""  # noqa: S608  (fragments of this code base)


PRUNE: Final = _statement(
    "FOR UPDATE OF f SKIP LOCKED",
    "DELETE FROM files WHERE id = ANY(ARRAY(SELECT id FROM unnamed)) RETURNING id",
)
COUNT: Final = _statement("", "SELECT id FROM unnamed")
