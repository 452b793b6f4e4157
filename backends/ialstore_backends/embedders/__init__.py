"""Embedders that need a driver: models on this machine, and models of a service.

Each is in a module of its own, which imports its driver at first use. Those without a driver are
in ``ialstore.embedding`` and ``ialstore.callables``.
"""
