"""Keys derived from the engine's one secret: each purpose has its own, so none can stand in for another."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MINIMUM_CHARACTERS = 32


def derive(secret_key: str, purpose: str) -> bytes:
    """32 bytes for `purpose` (HKDF-SHA256, RFC 5869). Raises ValueError for a secret under 32 characters."""
    if len(secret_key) < MINIMUM_CHARACTERS:
        raise ValueError(f"the secret key has fewer than {MINIMUM_CHARACTERS} characters")
    return HKDF(SHA256(), 32, None, f"hereabouts {purpose}".encode()).derive(secret_key.encode())
