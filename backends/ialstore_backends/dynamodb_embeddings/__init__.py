"""Indexes whose vectors are rows of a table of DynamoDB: what all of them share."""
