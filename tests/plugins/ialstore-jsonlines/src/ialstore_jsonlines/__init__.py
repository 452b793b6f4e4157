"""Conversations and vectors for ialstore in files of JSON lines: ``jsonlines:///folder``."""

from ialstore_jsonlines.conversations import JsonLinesConversationStore
from ialstore_jsonlines.files import JsonLinesOptions
from ialstore_jsonlines.vectors import JsonLinesVectorIndex

__all__ = ["JsonLinesConversationStore", "JsonLinesOptions", "JsonLinesVectorIndex"]
