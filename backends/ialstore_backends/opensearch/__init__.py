"""``opensearch:`` vector index: one index of OpenSearch, searched by k-NN within one user."""

from ialstore_backends.opensearch.index import OpenSearchVectorIndex
from ialstore_backends.opensearch.options import OpenSearchOptions

__all__ = ["OpenSearchOptions", "OpenSearchVectorIndex"]
