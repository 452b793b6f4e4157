"""Values as they lie in a cache: sealed so that nothing else is ever taken for one.

A sealed value is ``MAGIC``, a byte of flags, the 32 bytes of its whole key, the length of the body
once it is unpacked, a checksum over all of these and the body, and the body, deflated where that
saves. It guards against accidents, other programs and older versions; who may write to the cache
can forge a value. Nothing in it is ever executed; it unpacks to no more than ``MAX_BODY_BYTES``.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import Final

from ialstore.caching.protocol import MAX_VALUE_BYTES

__all__ = ["KEY_BYTES", "MAX_BODY_BYTES", "full_key", "seal", "unseal"]

MAGIC: Final = b"ial\x01"
"""The last byte is the version of the format, of the bodies too."""
MAX_BODY_BYTES: Final = 2 * 1024 * 1024
KEY_BYTES: Final = 32

_HEAD: Final = struct.Struct(f">4sB{KEY_BYTES}sI")
_CHECKSUM_BYTES: Final = 16
_DEFLATED: Final = 1
_DEFLATE_FROM: Final = 512
_LEVEL: Final = 1  # every read waits for it, and nobody keeps it long


def full_key(*parts: str) -> bytes:
    """Return the SHA-256 of the parts, each after its length as 4 bytes, big-endian."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(4, "big"))
        digest.update(data)
    return digest.digest()


def seal(key: bytes, body: bytes) -> bytes | None:
    """Return a body as a value of a key; None when it is too large for a cache."""
    if len(body) > MAX_BODY_BYTES:
        return None
    flags, packed = 0, body
    if len(body) >= _DEFLATE_FROM:
        deflated = zlib.compress(body, _LEVEL)
        if len(deflated) < len(body):
            flags, packed = _DEFLATED, deflated
    head = _HEAD.pack(MAGIC, flags, key, len(body))
    sealed = b"".join((head, _checksum(head, packed), packed))
    return sealed if len(sealed) <= MAX_VALUE_BYTES else None


def unseal(key: bytes, sealed: bytes) -> bytes | None:
    """Return the body of a value; None when it is not a value of this key, or is damaged."""
    start = _HEAD.size + _CHECKSUM_BYTES
    if not start <= len(sealed) <= MAX_VALUE_BYTES:
        return None
    head, packed = sealed[: _HEAD.size], sealed[start:]
    magic, flags, of_key, length = _HEAD.unpack(head)
    if magic != MAGIC or of_key != key or length > MAX_BODY_BYTES:
        return None
    if sealed[_HEAD.size : start] != _checksum(head, packed):
        return None
    if not flags & _DEFLATED:
        return packed if len(packed) == length else None
    try:
        inflate = zlib.decompressobj()
        body = inflate.decompress(packed, length + 1)  # one byte more tells of a longer one
    except zlib.error:
        return None
    return body if len(body) == length and inflate.eof else None


def _checksum(head: bytes, packed: bytes) -> bytes:
    digest = hashlib.blake2b(head, digest_size=_CHECKSUM_BYTES)
    digest.update(packed)
    return digest.digest()
