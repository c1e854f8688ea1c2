"""Encryption of the few secrets that must be read again: a database dump alone does not show them."""

import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.domain.errors import HeadraceError

_NONCE_BYTES: Final = 12


class DecryptionError(HeadraceError):
    """What was sealed is not whole, belongs elsewhere, or was sealed under another `HEADRACE_SECRET_KEY`."""

    def __init__(self) -> None:
        super().__init__("a sealed value cannot be opened")


class Cipher:
    """AES-256-GCM under a key that is derived from the service's secret.

    *associated_data* names what a value belongs to: moved to another row, it does not open.
    """

    def __init__(self, secret_key: str) -> None:
        self._aead = AESGCM(hmac.digest(secret_key.encode(), b"headrace sealing", "sha256"))

    def encrypt(self, plain: bytes, associated_data: str) -> bytes:
        """What may be stored; never the same twice."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, associated_data.encode())

    def decrypt(self, sealed: bytes, associated_data: str) -> bytes:
        """What was sealed.

        Raises:
            SealBrokenError: it was not, or not like this.
        """
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], associated_data.encode())
        except (InvalidTag, ValueError) as error:
            raise DecryptionError from error
