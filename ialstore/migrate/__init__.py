"""Moving what is stored from one store or index to another, any to any.

``copy`` makes the target hold what the source holds, user by user, and compares both; ``verify``
only compares. A ``Journal`` lets a copy that was stopped go on where it was.
"""

from __future__ import annotations

from ialstore.migrate.copy import copy, verify
from ialstore.migrate.journal import Journal
from ialstore.migrate.plan import CopyOptions
from ialstore.migrate.verify import CopyReport, Tally, UserReport

__all__ = ["CopyOptions", "CopyReport", "Journal", "Tally", "UserReport", "copy", "verify"]
