"""The room that files take, while other processes use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ialstore.compare.footprint import file_bytes


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_a_log_that_another_process_removes_meanwhile_counts_as_it_was_last_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    """A log goes with the last who had the file open: at whatever look, that is no error."""
    file, log = tmp_path / "agent.db", tmp_path / "agent.db-wal"
    file.write_bytes(b"12345")
    log.write_bytes(b"123")
    look, looked = Path.stat, list[Path]()

    def stat(path: Path, **options: Any) -> Any:
        if path == log:
            if len(looked) == looks:
                log.unlink()
            looked.append(path)
        return look(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    assert file_bytes(f"sqlite:///{file}") in {5, 8}
    assert looked
