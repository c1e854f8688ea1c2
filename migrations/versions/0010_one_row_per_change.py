"""One row of the event log for all events of a change

A change of a job is written with all its events at once. They are one row of the table `job_changes` now: the
last event in columns of its own, those before it as a JSON array of `[type, body]`. The view `job_events` has
a row for each event, as the table had. Processes of the previous release read and write it until they are
restarted; only their chore that creates partitions fails until then.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Each element is `["type",body]`, and is cut as text: the operators of JSON fail at an escaped NUL.
_EVENTS = """
CREATE VIEW job_events AS
SELECT job_id, seq, at, type, body FROM job_changes
UNION ALL
SELECT h.job_id, (h.seq - json_array_length(h.earlier) + e.place - 1)::int, h.at,
       split_part(pair.text, '"', 2)::varchar(32),
       substr(pair.text, strpos(pair.text, ',') + 1, length(pair.text) - strpos(pair.text, ',') - 1)::json
FROM job_changes h
CROSS JOIN LATERAL json_array_elements(h.earlier) WITH ORDINALITY AS e(event, place)
CROSS JOIN LATERAL (SELECT e.event::text AS text) pair
WHERE h.earlier IS NOT NULL
"""
_INSERT = """
CREATE FUNCTION insert_job_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_changes (job_id, seq, at, type, body)
    VALUES (NEW.job_id, NEW.seq, NEW.at, NEW.type, NEW.body);
    RETURN NEW;
END $$
"""
_FORGET = """
CREATE OR REPLACE FUNCTION forget_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM {log} WHERE job_id IN (SELECT id FROM gone);
    DELETE FROM step_runs WHERE job_id IN (SELECT id FROM gone);
    RETURN NULL;
END $$
"""
# An interrupted move of events to a new partition leaves a copy of them, and the next move begins anew.
# drops: the events of these tables are in the default partition
_DROP_COPIES = """
DO $$
DECLARE copy regclass;
BEGIN
    FOR copy IN
        SELECT c.oid FROM pg_class c
        WHERE c.relkind = 'r' AND c.relname ~ '^{old}_[0-9]{{4}}_[0-9]{{2}}$' AND NOT c.relispartition
          AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = '{old}'::regclass)
    LOOP
        EXECUTE format('DROP TABLE %s', copy);
    END LOOP;
END $$
"""
_RENAME_PARTITIONS = """
DO $$
DECLARE partition record;
BEGIN
    FOR partition IN
        SELECT c.oid::regclass AS name, replace(c.relname, '{old}', '{new}') AS new_name
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = '{new}'::regclass
    LOOP
        EXECUTE format('ALTER TABLE %s RENAME TO %I', partition.name, partition.new_name);
    END LOOP;
END $$
"""


def upgrade() -> None:
    _rename("job_events", "job_changes")
    op.add_column("job_changes", sa.Column("earlier", sa.JSON(), nullable=True))
    op.execute(_EVENTS)
    op.execute(_INSERT)
    op.execute("""
        CREATE TRIGGER insert_job_event INSTEAD OF INSERT ON job_events
        FOR EACH ROW EXECUTE FUNCTION insert_job_event()
    """)
    op.execute(_FORGET.format(log="job_changes"))


def downgrade() -> None:
    op.execute("LOCK TABLE job_changes IN ACCESS EXCLUSIVE MODE")
    op.execute("""
        INSERT INTO job_changes (job_id, seq, at, type, body)
        SELECT e.job_id, e.seq, e.at, e.type, e.body FROM job_events e
        WHERE NOT EXISTS (SELECT 1 FROM job_changes h WHERE h.job_id = e.job_id AND h.seq = e.seq)
    """)
    op.execute("DROP VIEW job_events")
    op.execute("DROP FUNCTION insert_job_event()")
    # drops: its events have rows of their own now
    op.drop_column("job_changes", "earlier")
    _rename("job_changes", "job_events")
    op.execute(_FORGET.format(log="job_events"))


def _rename(old: str, new: str) -> None:
    """Rename the log with its constraints and partitions."""
    op.execute(_DROP_COPIES.format(old=old))
    op.rename_table(old, new)
    for constraint in ("pk_{}", "ck_{}_seq_from_1"):
        op.execute(
            f"ALTER TABLE {new} RENAME CONSTRAINT {constraint.format(old)} TO {constraint.format(new)}"
        )
    op.execute(_RENAME_PARTITIONS.format(old=old, new=new))
