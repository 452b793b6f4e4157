"""Vectors come back from every codec within what it promises, and damage is noticed."""

from __future__ import annotations

import sys
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from ialstore import CorruptError, MissingDriverError
from ialstore.testing.profiles import profile
from ialstore_backends.lsh.codec import CODECS, ERRORS, CodecName, CompressionName, VectorCodec
from ialstore_backends.lsh.codec import decode as read

COMPRESSIONS: tuple[CompressionName, ...] = ("none", "zlib", "zstd")
Vectors = NDArray[np.float32]
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
codecs = st.builds(VectorCodec, st.sampled_from(CODECS), st.sampled_from(COMPRESSIONS))


def vectors(count: int, dimension: int, seed: int = 1) -> Vectors:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def relative_errors(given: Vectors, found: Vectors) -> NDArray[np.float64]:
    wide = given.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    errors: NDArray[np.float64] = np.linalg.norm(found - wide, axis=1)
    return errors / np.where(lengths, lengths, 1)


@profile().property()
@given(
    codec=codecs,
    rows=arrays.arrays(
        np.float32, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=floats
    ),
)
@example(codec=VectorCodec("int8"), rows=np.full((1, 1), np.finfo(np.float32).max, np.float32))
@example(codec=VectorCodec("float16"), rows=np.full((1, 2), 1e5, np.float32))
def test_any_vector_comes_back_within_the_promised_error(codec: VectorCodec, rows: Vectors) -> None:
    """V4, D1: huge, subnormal and zero included."""
    found = read(codec.encode(rows), rows.shape[1])
    assert found.dtype == np.float32
    # A millionth: the test computes in another order.
    assert (relative_errors(rows, found) <= codec.error * (1 + 1e-6)).all()


@pytest.mark.parametrize("dimension", [1, 24, 384, 4096])
@pytest.mark.parametrize(("name", "size"), [("int8", 1), ("float16", 2), ("float32", 4)])
def test_usual_vectors_take_a_fixed_number_of_bytes(
    name: CodecName, size: int, dimension: int
) -> None:
    """One byte says how, and int8 has a scale of four."""
    blobs = VectorCodec(name).encode(vectors(20, dimension))
    assert {len(blob) for blob in blobs} == {1 + size * dimension + 4 * (name == "int8")}


def test_what_a_codec_would_distort_is_written_in_full() -> None:
    """One large number among small ones leaves them one step of int8."""
    lone = np.full((1, 4096), 0.004, np.float32)
    lone[0, 7] = 1
    (blob,) = VectorCodec("int8").encode(lone)
    assert len(blob) == 1 + 4 * 4096
    assert (read([blob], 4096) == lone).all()


def test_a_reader_needs_no_option() -> None:
    """Codecs and compressions may be mixed in one call."""
    given = vectors(9, 64)
    given[:, 8:] = 0  # so that it can be compressed
    each = [VectorCodec(name, compression) for name in CODECS for compression in COMPRESSIONS]
    written = [one.encode(given[row : row + 1])[0] for row, one in enumerate(each)]
    found = read(written, 64)
    assert (relative_errors(given, found) <= ERRORS["int8"]).all()
    assert len({blob[0] for blob in written}) == 9


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_what_does_not_compress_is_not_compressed(compression: CompressionName) -> None:
    plain = VectorCodec("int8").encode(vectors(3, 8))
    assert VectorCodec("int8", compression).encode(vectors(3, 8)) == plain
    flat = np.ones((1, 384), np.float32)
    assert len(VectorCodec("int8", compression).encode(flat)[0]) < 40


BODY = bytes(4 * 8)
DAMAGED = {
    "empty": b"",
    "no codec": b"\x03" + BODY,
    "no compression": b"\x0e" + BODY,
    "too short": b"\x02" + BODY[:-1],
    "too long": b"\x02" + BODY + b"\0",
    "zlib of something else": b"\x06" + zlib.compress(b"x"),
    "zlib that is cut": b"\x06" + zlib.compress(BODY)[:-1],
    "zlib with something behind": b"\x06" + zlib.compress(BODY) + b"x",
    "no zlib": b"\x06" + b"x" * 20,
    "a bomb of zlib": b"\x06" + zlib.compress(bytes(10**7)),
    "no zstd": b"\x0a" + b"x" * 20,
    "a bomb of zstd": b"\x0a" + zstandard.compress(bytes(10**7)),
    "a bomb of zstd without its size": b"\x0a"
    + zstandard.ZstdCompressor(write_content_size=False).compress(bytes(10**7)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_an_error(name: str) -> None:
    """C5: and nothing is unpacked beyond the size of a vector."""
    good = VectorCodec("float32").encode(vectors(1, 8))
    with pytest.raises(CorruptError):
        read([*good, DAMAGED[name]], 8)


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = VectorCodec("float32", "zstd").encode(np.ones((1, 64), np.float32))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setattr("ialstore_backends._late.find_spec", lambda _: None)
    with pytest.raises(MissingDriverError, match=r"ialstore\[zstd\]"):
        VectorCodec("int8", "zstd")
    with pytest.raises(MissingDriverError, match=r"ialstore\[zstd\]"):
        read(blobs, 64)
