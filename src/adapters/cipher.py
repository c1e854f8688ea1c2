"""Encrypts the few secrets that the service must read again, so that a database dump does not reveal them."""

import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.domain.errors import HeadraceError

_NONCE_BYTES: Final = 12


class DecryptionError(HeadraceError):
    """The value is damaged, belongs to another row, or was encrypted with another `HEADRACE_SECRET_KEY`."""

    def __init__(self) -> None:
        super().__init__("an encrypted value cannot be decrypted")


class Cipher:
    """AES-256-GCM with a key that is derived from the service's secret.

    *associated_data* names the row that a value belongs to: copied to another row, it cannot be decrypted.
    """

    def __init__(self, secret_key: str) -> None:
        self._aead = AESGCM(hmac.digest(secret_key.encode(), b"headrace sealing", "sha256"))

    def encrypt(self, plain: bytes, associated_data: str) -> bytes:
        """Return the nonce and the ciphertext; each call returns another value."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, associated_data.encode())

    def decrypt(self, encrypted: bytes, associated_data: str) -> bytes:
        """Return the plain bytes.

        Raises:
            DecryptionError: the value was not encrypted with this key and *associated_data*.
        """
        try:
            return self._aead.decrypt(
                encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], associated_data.encode()
            )
        except (InvalidTag, ValueError) as error:
            raise DecryptionError from error
