"""Vectors in DynamoDB, searched by codes: the table Conversation Embeddings."""

from ialstore_backends.lsh.index import LshDynamoIndex
from ialstore_backends.lsh.options import LshOptions

__all__ = ["LshDynamoIndex", "LshOptions"]
