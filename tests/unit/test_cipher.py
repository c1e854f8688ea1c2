"""Encrypted values can only be decrypted with the same associated data."""

import pytest

from headrace.adapters.cipher import Cipher, DecryptionError

SEALER = Cipher("a secret")


def test_a_sealed_value_opens_again_and_does_not_show() -> None:
    sealed = SEALER.encrypt(b"the token", "row 1")

    assert SEALER.decrypt(sealed, "row 1") == b"the token"
    assert b"the token" not in sealed


def test_the_same_value_is_never_sealed_the_same() -> None:
    assert len({SEALER.encrypt(b"x", "row 1") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("sealed", "about"),
    [
        (SEALER.encrypt(b"x", "row 2"), "row 1"),
        (Cipher("another secret").encrypt(b"x", "row 1"), "row 1"),
        (SEALER.encrypt(b"x", "row 1")[:-1], "row 1"),
        (b"\0" * 40, "row 1"),
        (b"x", "row 1"),
        (b"", "row 1"),
    ],
    ids=["of another row", "with another key", "cut", "zeros", "short", "nothing"],
)
def test_moved_foreign_or_broken_values_do_not_open(sealed: bytes, about: str) -> None:
    with pytest.raises(DecryptionError):
        SEALER.decrypt(sealed, about)


def test_a_changed_bit_is_noticed() -> None:
    sealed = bytearray(SEALER.encrypt(b"the token", "row 1"))
    sealed[15] ^= 1

    with pytest.raises(DecryptionError):
        SEALER.decrypt(bytes(sealed), "row 1")
