"""FAISS indexes in files: one for each user, which may be lost without any vector being lost.

A file begins with a keyed SHA-256 (HMAC) of all the rest; the key stands in the database. So FAISS
never reads a byte that this directory's own writer did not write, as it wrote it. What follows says
of which rows the index was made: one whose rows are not those of the database is no longer used.
A new file takes the place of the old one in one step, when it is on the disk as a whole.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore_backends.faiss.parts import Built, Restored
from ialstore_backends.sqlite.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ialstore.vector_model import IndexSpec
    from ialstore_backends.faiss.matrix import FaissMatrix
    from ialstore_backends.faiss.recipes import Recipe

__all__ = ["DamagedSnapshotError", "Snapshots"]

_MAGIC: Final = b"ialstore faiss 2"
_DIGEST_BYTES: Final = 32
_HEADER_LENGTH: Final = struct.Struct("<I")
_NAME: Final = "user-{}.faiss"
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)


class DamagedSnapshotError(Exception):
    """A file is damaged, or of another directory."""


class Snapshots:
    """The files of one directory.

    Args:
        folder: the directory.
        spec: of the vectors.
        recipe: of the indexes.
    """

    def __init__(self, folder: str, spec: IndexSpec, recipe: Recipe) -> None:
        self._folder = Path(folder)
        self._spec = spec
        self._recipe = recipe

    def write(self, key: bytes, user: int, matrix: FaissMatrix) -> None:
        """Put the index of a user into its file, whole or not at all.

        Raises:
            OSError: it could not be written; the former file is as it was.
        """
        built = matrix.built
        if built is None:
            self.remove(user)
            return
        header = json.dumps(
            {
                **self._kind(user),
                "count": built.count,
                "learned_from": built.learned_from,
                "ceiling": built.ceiling,
            }
        ).encode()
        body = b"".join(
            (
                _HEADER_LENGTH.pack(len(header)),
                header,
                matrix.numbers[: built.count].tobytes(),
                matrix.checksums[: built.count].tobytes(),
                self._recipe.write(built.index),
            )
        )
        path = self._path(user)
        temporary = path.with_suffix(".tmp")
        with suppress(FileNotFoundError):
            temporary.unlink()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MAGIC + hmac.digest(key, body, "sha256"))
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(str(path))

    def read(self, key: bytes, user: int) -> Restored | None:
        """Return the index of a user; None if there is none of this kind.

        Args:
            key: of the directory.
            user: whose index.

        Raises:
            DamagedSnapshotError: the file is not as this directory's writer wrote it.
            OSError: it can't be read.
        """
        data = self._bytes(user)
        if data is None:
            return None
        header, body = self._opened(key, data)
        if any(header[name] != one for name, one in self._kind(user).items()):
            return None
        count = header["count"]
        try:
            numbers = np.frombuffer(body, "<i8", count).astype(np.int64)
            checksums = np.frombuffer(body, "<i8", count, 8 * count).astype(np.int64)
            width = self._spec.dimension + self._recipe.is_widened
            index = self._recipe.read(body[16 * count :], width, count)
        except ValueError as error:
            raise DamagedSnapshotError(str(error)) from error
        return Restored(
            Built(index, count, header["learned_from"], header["ceiling"]), numbers, checksums
        )

    def remove(self, user: int) -> None:
        """Remove the file of a user, and what a writer that was killed left of a new one."""
        for path in (self._path(user), self._path(user).with_suffix(".tmp")):
            with suppress(FileNotFoundError):
                path.unlink()
        sync_folder(str(self._path(user)))

    def remove_unfinished(self) -> None:
        """Remove what writers that were killed left; called by the only writer."""
        for path in self._folder.glob("user-*.tmp"):
            with suppress(FileNotFoundError):
                path.unlink()

    def users(self) -> Iterator[int]:
        """Yield the users that have a file."""
        for path in sorted(self._folder.glob("user-*.faiss")):
            number = path.stem.removeprefix("user-")
            if number.isdecimal():
                yield int(number)

    def path(self, user: int) -> str:
        """Return the path of a user's file, for messages."""
        return str(self._path(user))

    def _kind(self, user: int) -> dict[str, Any]:
        return {
            "user": user,
            "dimension": self._spec.dimension,
            "metric": self._spec.metric,
            "kind": self._recipe.kind,
            "storage": self._recipe.storage,
        }

    def _path(self, user: int) -> Path:
        return self._folder / _NAME.format(user)

    def _bytes(self, user: int) -> bytes | None:
        """Return what is in a file; no link is followed, and nothing but a file is read."""
        flags = os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(self._path(user), flags)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DamagedSnapshotError("it is no regular file")
            return file.read()

    def _opened(self, key: bytes, data: bytes) -> tuple[dict[str, Any], bytes]:
        """Return the header of a file and what follows, if it is this directory's own."""
        head = len(_MAGIC) + _DIGEST_BYTES
        digest, body = data[len(_MAGIC) : head], data[head:]
        if not data.startswith(_MAGIC) or not hmac.compare_digest(
            digest, hmac.digest(key, body, hashlib.sha256)
        ):
            raise DamagedSnapshotError("it is damaged, or of another directory")
        (length,) = _HEADER_LENGTH.unpack_from(body)
        start = _HEADER_LENGTH.size + length
        return json.loads(body[_HEADER_LENGTH.size : start]), body[start:]
