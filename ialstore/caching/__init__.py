"""Caching in front of any store: the protocol, the values, and the border that contains faults.

The wrapper is ``ialstore.wrappers.cache``; caches themselves are in ``ialstore_backends``.
"""
