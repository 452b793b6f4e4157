"""DynamoDB: conversations in the table Conversation History V2."""

from ialstore_backends.dynamodb.conversations import DynamoConversationStore
from ialstore_backends.dynamodb.options import DynamoOptions
from ialstore_backends.dynamodb.prediction import Prediction

__all__ = ["DynamoConversationStore", "DynamoOptions", "Prediction"]
