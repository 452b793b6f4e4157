"""The contract, as ialstore's kit tests it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ialstore import ConversationStore, VectorIndex
from ialstore.testing import ConversationStoreSuite, VectorIndexSuite

from ialstore_jsonlines import JsonLinesConversationStore, JsonLinesOptions, JsonLinesVectorIndex


class TestJsonLinesConversationStore(ConversationStoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[..., ConversationStore]:
        return partial(JsonLinesConversationStore, tmp_path / "agent")


class TestJsonLinesVectorIndex(VectorIndexSuite):
    @pytest.fixture
    def make_index(self, tmp_path: Path) -> Callable[..., VectorIndex]:
        return partial(JsonLinesVectorIndex, tmp_path / "agent")


class Disk:
    """A file system that fails when it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.replies = 0
        real_open, real_fsync = Path.open, os.fsync

        def open_or_fail(path: Path, *args: Any, **options: Any) -> Any:
            if self.calls:
                self.calls -= 1
                raise OSError(errno.EIO, "the disk is gone", str(path))
            return real_open(path, *args, **options)

        def fsync_or_fail(file: int) -> None:
            real_fsync(file)
            if self.replies:
                self.replies -= 1
                raise OSError(errno.EIO, "the disk did not answer")

        monkeypatch.setattr(Path, "open", open_or_fail)
        monkeypatch.setattr(os, "fsync", fsync_or_fail)

    def unavailable(self, calls: int) -> None:
        self.calls = calls

    def lost_reply(self) -> None:
        self.replies = 1


class TestWithoutCache(ConversationStoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[..., ConversationStore]:
        options = JsonLinesOptions(cached_users=0)
        return partial(JsonLinesConversationStore, tmp_path / "agent", options)

    @pytest.fixture
    def faults(self, monkeypatch: pytest.MonkeyPatch) -> Disk:
        return Disk(monkeypatch)
