"""Peers that are no Redis: whatever they send, a step ends soon, and with no answer of theirs."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from ialstore.caching.protocol import MAX_VALUE_BYTES, Bucket, Cache, Found, Look
from ialstore_backends.redis.connection import Budget, Server, _Socket
from tests.rediscache.hostile import HostileServer, answer, for_ever, hostile_server
