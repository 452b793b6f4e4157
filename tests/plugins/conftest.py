"""What lies beside these tests: a package with tests of its own, for its own environment."""

from __future__ import annotations

collect_ignore = ["ialstore-jsonlines"]
