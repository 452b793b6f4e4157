"""Which node of a Redis Cluster has a slot, learnt from the nodes themselves.

redis-py's own ``RedisCluster`` sleeps for 0.25 s between its attempts and lets all threads wait
while one of them reads the map, which a step of 80 ms can't afford.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ClusterDownError, MovedError

from ialstore_backends.redis.connection import Access, Budget, Node, Request, Server

__all__ = ["Cluster"]

T = TypeVar("T")

_MAX_SERVERS: Final = 1_000
"""A cluster has no more nodes; what has is no cluster."""


class Cluster:
    """The nodes of a cluster. Safe from many threads: what they learn at once is learnt twice."""

    def __init__(self, seeds: Sequence[Node], access: Access) -> None:
        self._access = access
        self._nodes = tuple(seeds)  # to be asked for the map; what failed last comes last
        self._servers: dict[Node, Server] = {}
        self._owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS

    def ask(self, key: str, budget: Budget, request: Request[T]) -> T:
        """Return what the node says that has a key's slot.

        That a slot has moved is followed once. While it moves its steps fail, as Redis wants it for
        commands of several keys: TRYAGAIN.
        """
        slot = key_slot(key.encode())
        node = self._owners[slot] or self._find(slot, budget)
        try:
            return self._ask(node, budget, request)
        except MovedError as moved:
            node = self._owners[slot] = _target(moved, node)
            return self._ask(node, budget, request)

    def post(self, key: str, request: Request[Any]) -> None:
        """Send a request to the node that had a key's slot, and wait for nothing."""
        node = self._owners[key_slot(key.encode())]
        server = None if node is None else self._servers.get(node)
        if server is None:
            raise ClusterDownError("no node is known to have the slot")
        server.post(request)

    def close(self) -> None:
        """Close every connection."""
        for server in list(self._servers.values()):
            server.close()

    def after_fork(self) -> None:
        """Forget the parent's connections."""
        for server in self._servers.values():
            server.after_fork()

    def _ask(self, node: Node, budget: Budget, request: Request[T]) -> T:
        server = self._servers.get(node)
        if server is None:
            if len(self._servers) >= _MAX_SERVERS:
                raise redis.InvalidResponse("the cluster has too many nodes")
            server = self._servers.setdefault(node, Server(node, self._access))
        try:
            return server.ask(budget, request)
        except redis.ResponseError:
            raise
        except Exception:
            self._lose(node)
            raise

    def _lose(self, node: Node) -> None:
        """Look elsewhere for what this node had, next time."""
        self._nodes = (*(one for one in self._nodes if one != node), node)
        self._owners = [None if owner == node else owner for owner in self._owners]

    def _find(self, slot: int, budget: Budget) -> Node:
        """Return the node that has a slot, by the map of the first node that answers."""
        failure: Exception | None = None
        for node in self._nodes:
            try:
                ranges = self._ask(node, budget, Request(("CLUSTER", "SLOTS"), _ranges))
            except Exception as error:  # noqa: BLE001 - whatever it is, another node may do better
                failure = error
                if budget.is_spent():
                    break
                continue
            owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
            for first, last, host, port in ranges:
                owners[first : last + 1] = [(host or node[0], port)] * (last + 1 - first)
            self._owners = owners
            known = {(host or node[0], port) for _, _, host, port in ranges}
            self._nodes = tuple(dict.fromkeys((*self._nodes, *sorted(known))))
            if owner := owners[slot]:
                return owner
            raise ClusterDownError(f"no node has slot {slot}")
        raise failure or ClusterDownError("no node is known")


def _target(redirection: Any, said_by: Node) -> Node:
    return redirection.host or said_by[0], redirection.port


def _ranges(reply: Any) -> list[tuple[int, int, str, int]]:
    """Return first slot, last slot, host and port of each range; no host is that of who says so."""
    try:
        ranges = [
            (int(first), int(last), (host or b"").decode().replace("?", ""), int(port))
            for first, last, (host, port, *_), *_ in reply
        ]
    except (AttributeError, TypeError, ValueError):
        raise redis.InvalidResponse("the map of the cluster is none") from None
    if not all(0 <= first <= last < REDIS_CLUSTER_HASH_SLOTS for first, last, _, _ in ranges):
        raise redis.InvalidResponse("the map of the cluster has other slots")
    return ranges
