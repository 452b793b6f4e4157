"""docs/redis.md: its options are those of the class, and its rights are enough, and needed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import redis

from ialstore.caching.protocol import Bucket, Found
from ialstore.testing.servers import RunningServer
from ialstore_backends.redis import RedisCache, RedisOptions

PAGE = (Path(__file__).parents[2] / "docs" / "redis.md").read_text(encoding="utf-8")
(RIGHTS,) = (
    block.split() for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) if "resetkeys" in block
)
LONG = 60_000


def test_the_table_names_every_option() -> None:
    (table,) = re.findall(r"\| option \|.*?\n\n", PAGE, re.DOTALL)
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row)}
    assert {one.name for one in dataclasses.fields(RedisOptions)} <= named


def work(cache: RedisCache, bucket: Bucket) -> None:
    """Take every way through the scripts that needs a right."""
    cache.look(bucket, "n", "a", LONG)
    cache.fill(bucket, "n", "a", b"one", LONG)
    assert cache.look(bucket, "n", None, LONG).found is Found.VALUE
    assert cache.look(bucket, "m", "a", LONG).found is Found.LEASED
    cache.release(bucket, "m", "a")
    assert cache.mark([bucket], "w", LONG) == 1
    cache.settle([bucket], "w", LONG)
    assert cache.settle([bucket], "w") == 0


def test_the_rights_are_enough_and_none_is_too_many(
    opened: Any, server: RunningServer, admin: Any, bucket: Bucket
) -> None:
    admin.execute_command("ACL", "SETUSER", "agent", "on", ">pw", *RIGHTS)
    url = f"redis://agent:pw@127.0.0.1:{server.port}/1"
    work(opened(url), bucket)
    for right in RIGHTS:
        if right.startswith("+") and right != "+auth":  # every user has that one
            admin.flushall()
            admin.script_flush()
            admin.execute_command("ACL", "SETUSER", "agent", right.replace("+", "-"))
            with pytest.raises((redis.ResponseError, redis.AuthenticationError)):
                work(opened(url), bucket)
            admin.execute_command("ACL", "SETUSER", "agent", right)
