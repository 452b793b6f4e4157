"""A cache in Redis, Valkey or a cluster of them, shared by every process that names it."""

from ialstore_backends.redis.cache import RedisCache, RedisOptions

__all__ = ["RedisCache", "RedisOptions"]
