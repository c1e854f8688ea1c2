"""Event bodies that PostgreSQL writes itself, because only it knows their values. Pure."""


def event_body_sql(**fields: str) -> str:
    """Return a SQL expression for the body of an event, as text; each of *fields* is SQL that gives JSON.

    Unlike `json_build_object` it puts no blanks between: the bytes are those of `encode_event`.
    """
    if not fields:
        return "'{}'"
    members = " || ',".join(f'"{name}":\' || {value}' for name, value in fields.items())
    return "'{" + members + " || '}'"
