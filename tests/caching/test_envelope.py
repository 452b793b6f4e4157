"""Sealed values: what comes out is what went in, or nothing."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
import zlib
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore.caching import envelope
from ialstore.caching.envelope import KEY_BYTES, MAX_BODY_BYTES, full_key, seal, unseal
from ialstore.caching.protocol import MAX_VALUE_BYTES

KEY: Final = full_key("store", "user")
BODIES: Final = {"plain": b"hello", "empty": b"", "deflated": b"hello " * 200}
HEAD: Final = struct.Struct(f">4sB{KEY_BYTES}sI")


def sealed(body: bytes, key: bytes = KEY) -> bytes:
    value = seal(key, body)
    assert value is not None
    return value


def forged(packed: bytes, length: int, flags: int = 1, magic: bytes = b"ial\x01") -> bytes:
    """Return a value whose checksum is right, whatever else is wrong."""
    head = HEAD.pack(magic, flags, KEY, length)
    return head + hashlib.blake2b(head + packed, digest_size=16).digest() + packed


@given(st.binary(max_size=2000) | st.binary(min_size=1, max_size=20).map(lambda one: one * 200))
def test_a_body_comes_back(body: bytes) -> None:
    assert unseal(KEY, sealed(body)) == body


def test_long_bodies_are_deflated_where_that_saves() -> None:
    assert len(sealed(BODIES["deflated"])) < len(BODIES["deflated"])
    noise = b"".join(full_key(str(number)) for number in range(100))
    assert noise in sealed(noise)
    assert unseal(KEY, sealed(noise)) == noise


@pytest.mark.parametrize("name", BODIES)
def test_every_changed_byte_is_found(name: str) -> None:
    value = sealed(BODIES[name])
    for place in range(len(value)):
        for bit in (1, 128):
            changed = bytearray(value)
            changed[place] ^= bit
            assert unseal(KEY, bytes(changed)) is None, f"byte {place}"


@pytest.mark.parametrize("name", BODIES)
def test_every_other_length_is_found(name: str) -> None:
    value = sealed(BODIES[name])
    for end in range(len(value)):
        assert unseal(KEY, value[:end]) is None, f"cut at {end}"
    assert unseal(KEY, value + b"\0") is None


@given(st.binary(max_size=200))
def test_random_bytes_are_no_value(data: bytes) -> None:
    assert unseal(KEY, data) is None


def test_a_value_of_another_key_is_none() -> None:
    assert unseal(full_key("store", "user2"), sealed(b"x")) is None


def test_another_version_is_none() -> None:
    assert unseal(KEY, forged(b"x", 1, flags=0)) == b"x"
    assert unseal(KEY, forged(b"x", 1, flags=0, magic=b"ial\x02")) is None


FORGED: Final = {
    "plain, of another length": forged(b"xy", 1, flags=0),
    "deflated, shorter than it says": forged(zlib.compress(b"x"), 2),
    "deflated, longer than it says": forged(zlib.compress(b"xyz"), 2),
    "deflated, cut": forged(zlib.compress(b"x" * 100)[:-5], 100),
    "no deflated bytes": forged(b"\xff" * 20, 20),
    "longer than any": forged(b"x", MAX_BODY_BYTES + 1),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_value_that_only_the_checksum_vouches_for_is_none(name: str) -> None:
    assert unseal(KEY, FORGED[name]) is None


def test_a_bomb_takes_no_more_memory_than_the_largest_body() -> None:
    bomb = forged(zlib.compress(b"\0" * (64 * 1024 * 1024), 9), MAX_BODY_BYTES)
    assert len(bomb) < MAX_VALUE_BYTES
    tracemalloc.start()
    try:
        assert unseal(KEY, bomb) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * MAX_BODY_BYTES


def test_the_largest_body_fits_if_it_deflates() -> None:
    assert unseal(KEY, sealed(b"x" * MAX_BODY_BYTES)) == b"x" * MAX_BODY_BYTES
    assert seal(KEY, b"x" * (MAX_BODY_BYTES + 1)) is None


def test_what_is_too_large_as_a_value_is_not_sealed_and_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = sealed(b"x" * 100)
    monkeypatch.setattr(envelope, "MAX_VALUE_BYTES", len(value))
    assert unseal(KEY, value) == b"x" * 100
    monkeypatch.setattr(envelope, "MAX_VALUE_BYTES", len(value) - 1)
    assert seal(KEY, b"x" * 100) is None
    assert unseal(KEY, value) is None


@given(st.lists(st.text(max_size=5)), st.lists(st.text(max_size=5)))
def test_keys_differ_where_parts_do(one: list[str], other: list[str]) -> None:
    assert (full_key(*one) == full_key(*other)) is (one == other)
    assert len(full_key(*one)) == KEY_BYTES
