"""The statement that inserts tags, for SQLAlchemy and for asyncpg. Pure."""


def insert_tags_sql(owner_id: str, ids: str, names: str) -> str:
    """Return an INSERT of the tags that their owner lacks; the arguments are placeholders of either style.

    *names* must be sorted: then two statements that insert the same tags do not deadlock.
    """
    return f"""
        INSERT INTO tags (id, owner_id, name, created_at, updated_at)
        SELECT t.id, CAST({owner_id} AS uuid), t.name, statement_timestamp(), statement_timestamp()
        FROM unnest(CAST({ids} AS uuid[]), CAST({names} AS text[])) WITH ORDINALITY AS t(id, name, place)
        ORDER BY t.place
        ON CONFLICT (owner_id, name) DO NOTHING
    """  # noqa: S608  (placeholders of this code base)
