"""Encrypted values can only be decrypted with the same associated data."""

import pytest

from headrace.adapters.cipher import Cipher, DecryptionError

CIPHER = Cipher("a secret")


def test_an_encrypted_value_can_be_decrypted_and_hides_its_plaintext() -> None:
    ciphertext = CIPHER.encrypt(b"the token", "row 1")

    assert CIPHER.decrypt(ciphertext, "row 1") == b"the token"
    assert b"the token" not in ciphertext


def test_encrypting_a_value_repeatedly_gives_different_ciphertexts() -> None:
    assert len({CIPHER.encrypt(b"x", "row 1") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("ciphertext", "associated_data"),
    [
        (CIPHER.encrypt(b"x", "row 2"), "row 1"),
        (Cipher("another secret").encrypt(b"x", "row 1"), "row 1"),
        (CIPHER.encrypt(b"x", "row 1")[:-1], "row 1"),
        (b"\0" * 40, "row 1"),
        (b"x", "row 1"),
        (b"", "row 1"),
    ],
    ids=["of another row", "with another key", "cut", "zeros", "short", "nothing"],
)
def test_moved_foreign_and_broken_ciphertexts_are_refused(ciphertext: bytes, associated_data: str) -> None:
    with pytest.raises(DecryptionError):
        CIPHER.decrypt(ciphertext, associated_data)


def test_a_ciphertext_with_a_changed_bit_is_refused() -> None:
    ciphertext = bytearray(CIPHER.encrypt(b"the token", "row 1"))
    ciphertext[15] ^= 1

    with pytest.raises(DecryptionError):
        CIPHER.decrypt(bytes(ciphertext), "row 1")
