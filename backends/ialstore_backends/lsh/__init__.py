"""Vectors in DynamoDB, searched by codes: the table Conversation Embeddings."""
