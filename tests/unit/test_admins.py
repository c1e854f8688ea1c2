"""The users whom the settings make admins."""

import pytest

from headrace.domain.accounts.admins import Admins

NAMES = ("root", "Boss@Example.com")


@pytest.mark.parametrize(
    ("username", "email", "expected"),
    [
        ("root", None, True),
        ("ROOT", "somebody@example.com", False),
        ("ada", "bo\u017f\u017f@example.com", False),
        ("ada", "boss@example.com", True),
        ("ada", "BOSS@EXAMPLE.COM", True),
        ("ada", "ada@example.com", False),
        ("ada", None, False),
        ("rooted", None, False),
        ("", "", False),
        # A username that looks like an e-mail address is not one, and vice versa.
        ("boss@example.com", None, False),
        ("ada", "root", False),
    ],
)
def test_emails_match_only_emails_and_usernames_only_usernames(
    username: str, email: str | None, expected: bool
) -> None:
    admins = Admins(NAMES, trusts_usernames=True)

    assert admins.include(username=username, email=email, is_admin=False) is expected


@pytest.mark.parametrize(
    ("username", "email", "expected"),
    [("root", None, False), ("root", "boss@example.com", True), ("ada", "boss@example.com", True)],
)
def test_usernames_are_ignored_where_users_choose_them(
    username: str, email: str | None, expected: bool
) -> None:
    admins = Admins(NAMES, trusts_usernames=False)

    assert admins.include(username=username, email=email, is_admin=False) is expected


def test_a_stored_admin_need_not_be_named_in_the_settings() -> None:
    admins = Admins((), trusts_usernames=True)

    assert admins.include(username="ada", email=None, is_admin=True)
    assert not admins.include(username="ada", email=None, is_admin=False)


def test_an_empty_name_in_the_settings_matches_no_user() -> None:
    admins = Admins(("",), trusts_usernames=True)

    assert not admins.include(username="", email="", is_admin=False)
