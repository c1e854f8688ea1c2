"""The revisions that are read from the files of the migrations."""

from alembic.script import ScriptDirectory

from headrace.adapters.revisions import MIGRATIONS, known_revisions, newest_revision


def test_the_revisions_are_those_of_alembic() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))

    assert known_revisions() == tuple(script.revision for script in scripts.walk_revisions())
    assert newest_revision() == scripts.get_current_head()
