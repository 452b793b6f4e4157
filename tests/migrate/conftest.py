"""The servers of the other folders."""

from __future__ import annotations

from tests.dynamodb.conftest import _credentials, dynoxide, prefix
from tests.opensearch.conftest import index_name, port

__all__ = ["_credentials", "dynoxide", "index_name", "port", "prefix"]
