"""Vectors in DynamoDB, searched by its own vector index: the table Conversation Vectors."""

from ialstore_backends.dynamodb_vector.index import DynamoVectorIndex
from ialstore_backends.dynamodb_vector.options import VectorOptions

__all__ = ["DynamoVectorIndex", "VectorOptions"]
