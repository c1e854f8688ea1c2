"""The parts of a provider's user profile that the service trusts."""

import pytest

from headrace.domain.accounts.profile import (
    ProviderTokens,
    is_name_for,
    is_subject,
    names_for,
    verified_email,
    wished_name,
)


@pytest.mark.parametrize(
    ("address", "is_verified", "kept"),
    [
        ("ada@example.com", True, "ada@example.com"),
        ("ada@example.com", "true", "ada@example.com"),
        ("ada@example.com", False, None),
        ("ada@example.com", None, None),
        ("ada@example.com", "false", None),
        ("ada@example.com", 1, None),
        (None, True, None),
        ("ada", True, None),
        ("ada@", True, None),
        ("a\0b@example.com", True, None),
        ("a" * 250 + "@example.com", True, None),
    ],
)
def test_an_email_is_kept_only_if_it_was_verified(
    address: object, is_verified: object, kept: str | None
) -> None:
    assert verified_email(address, is_verified) == kept


@pytest.mark.parametrize(
    ("candidates", "name"),
    [
        (("ada", "Ada L."), "ada"),
        ((None, "", "Ada Lovelace"), "Ada-Lovelace"),
        (("\0\u202e", 7, None), "user"),
        (("a\0\nb",), "a-b"),
        (("x" * 100,), "x" * 64),
        ((), "user"),
    ],
)
def test_a_username_is_the_first_usable_candidate(candidates: tuple[object, ...], name: str) -> None:
    assert wished_name(*candidates) == name


def test_a_username_is_tried_first_without_and_then_with_a_suffix_a_few_times() -> None:
    names = list(names_for("ada"))

    assert names[:3] == ["ada", "ada-2", "ada-3"]
    assert len(set(names)) == len(names) == 12
    assert all(is_name_for("ada", name) for name in names)


@pytest.mark.parametrize("name", ["ad", "ada-", "ada-22", "ada-zzzzzzzz", "bob", "Ada", "adab"])
def test_a_different_name_does_not_match_the_wished_name(name: str) -> None:
    assert not is_name_for("ada", name)


def test_subjects_are_limited_in_length_and_characters() -> None:
    assert all(is_subject(value) for value in ("0042", "a|b c", "x" * 255))
    assert not any(is_subject(value) for value in ("", "x" * 256, "a\0", 42, None, "\ud800"))


def test_tokens_are_hidden_in_the_repr() -> None:
    assert "secret" not in repr(ProviderTokens("a secret", "another secret", 1.0))
