"""``faiss:`` vector index: FAISS's indexes of many users over the rows of one SQLite file."""

from ialstore_backends.faiss.index import FaissOptions, FaissVectorIndex

__all__ = ["FaissOptions", "FaissVectorIndex"]
