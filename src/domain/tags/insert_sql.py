"""The statement that inserts tags, for SQLAlchemy and for asyncpg. Pure."""

from headrace.domain.tags.errors import MAX_TAGS


def insert_tags_sql(owner_id: str, ids: str, names: str) -> str:
    """Return an INSERT of the tags that their owner lacks; the arguments are placeholders of either style.

    If the owner would have more tags than a user may have, it inserts none. It returns whether there was
    *room*. Statements that run at once do not see the tags of each other, so they may exceed the limit.
    *names* must be sorted: then two statements that insert the same tags do not deadlock.
    """
    return f"""
        WITH missing AS (
            SELECT t.id, t.name, t.place
            FROM unnest(CAST({ids} AS uuid[]), CAST({names} AS text[])) WITH ORDINALITY AS t(id, name, place)
            WHERE NOT EXISTS (
                SELECT FROM tags o WHERE o.owner_id = CAST({owner_id} AS uuid) AND o.name = t.name
            )
        ), stock AS (
            SELECT NOT EXISTS (SELECT FROM missing) OR (
                SELECT count(*) FROM tags o WHERE o.owner_id = CAST({owner_id} AS uuid)
            ) + (SELECT count(*) FROM missing) <= {MAX_TAGS} AS room
        ), inserted AS (
            INSERT INTO tags (id, owner_id, name, created_at, updated_at)
            SELECT m.id, CAST({owner_id} AS uuid), m.name, statement_timestamp(), statement_timestamp()
            FROM missing m JOIN stock ON stock.room ORDER BY m.place
            ON CONFLICT (owner_id, name) DO NOTHING
        )
        SELECT room FROM stock
    """  # noqa: S608  (placeholders of this code base)
