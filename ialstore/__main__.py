"""``python -m ialstore``: the command line."""

from __future__ import annotations

import sys

from ialstore.cli import main

if __name__ == "__main__":  # pragma: no cover - only in a process of its own
    sys.exit(main())
