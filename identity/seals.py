"""Sealed rows: what stands in the database encrypted, each bound to its place there (PRIV-4)."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class SealBrokenError(Exception):
    """What is stored was sealed under another secret key, or for another row."""


class Seal:
    """AES-256-GCM under a key of 32 bytes (identity.secrets.derive)."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, table: str, row: str, plain: bytes) -> bytes:
        """Nonce and ciphertext; the table and the row are authenticated with it."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, f"{table}|{row}".encode())

    def open(self, table: str, row: str, sealed: bytes) -> bytes:
        """What was sealed for this row of this table. Raises SealBrokenError."""
        try:
            return self._cipher.decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], f"{table}|{row}".encode()
            )
        except InvalidTag:
            raise SealBrokenError(f"a row of {table} was sealed under another secret key") from None
