"""DynamoDB: conversations in the table Conversation History V2."""

from ialstore_backends.dynamodb.conversations import DynamoConversationStore
from ialstore_backends.dynamodb.options import DynamoOptions

__all__ = ["DynamoConversationStore", "DynamoOptions"]
