"""The steps of the cache protocol as Lua: each runs on the server, atomically and by its clock.

A bucket is three keys: its values (a hash), its leases (a hash of ``TOKEN ENDS_MS``) and its marks
(a sorted set of tokens by the time they end). Keys of another type are another application's: they
are removed, or every later step would fail on them. Arguments and replies are in ``cache``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

__all__ = ["FILL", "LOOK", "MARK", "RELEASE", "SETTLE", "Script"]


@dataclass(frozen=True)
class Script:
    """A script, and the hash by which the server knows it once it has run it."""

    body: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        sha = hashlib.sha1(self.body.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", sha)


_COMMON: Final = """
local function own(key, kind)
  local found = redis.call('TYPE', key)['ok']
  if found ~= kind and found ~= 'none' then redis.call('UNLINK', key) end
end
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function text(number) return string.format('%.0f', number) end
local function lease(key, name)
  local held = redis.call('HGET', key, name)
  if not held then return nil, 0 end
  local token, ends = string.match(held, '^(.*) (%d+)$')
  return token, tonumber(ends) or 0
end
local function is_marked(key, now)
  return redis.call('ZCOUNT', key, '(' .. text(now), '+inf') > 0
end
local function lives_for(key, ms)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, ms) end
end
local function empty(values, leases)
  local removed = 0
  if redis.call('TYPE', values)['ok'] == 'hash' then removed = redis.call('HLEN', values) end
  redis.call('UNLINK', values, leases)
  return removed
end
"""

LOOK: Final = Script(
    _COMMON
    + """
local name, token, lease_ms, max_bytes, max_names = unpack(ARGV)
own(KEYS[1], 'hash')
redis.call('HDEL', KEYS[1], '') -- a write: a replica, which may be behind, refuses it
if redis.call('HSTRLEN', KEYS[1], name) > tonumber(max_bytes) then
  redis.call('HDEL', KEYS[1], name)
end
local value = redis.call('HGET', KEYS[1], name)
if value then return {'value', value} end
own(KEYS[2], 'hash')
own(KEYS[3], 'zset')
local now = now_ms()
if is_marked(KEYS[3], now) then return {'marked'} end
local _, ends = lease(KEYS[2], name)
if ends > now then return {'busy'} end
if token == '' then return {'nothing'} end
if redis.call('HLEN', KEYS[2]) >= tonumber(max_names) then redis.call('UNLINK', KEYS[2]) end
redis.call('HSET', KEYS[2], name, token .. ' ' .. text(now + lease_ms))
lives_for(KEYS[2], tonumber(lease_ms))
return {'leased'}
"""
)

FILL: Final = Script(
    _COMMON
    + """
local name, token, value, ttl_ms, max_names = unpack(ARGV)
own(KEYS[1], 'hash')
own(KEYS[2], 'hash')
own(KEYS[3], 'zset')
local now = now_ms()
local holder, ends = lease(KEYS[2], name)
if holder ~= token then return 0 end
local put = 0
if ends > now and not is_marked(KEYS[3], now) then
  local is_new = redis.call('HEXISTS', KEYS[1], name) == 0
  if is_new and redis.call('HLEN', KEYS[1]) >= tonumber(max_names) then
    redis.call('UNLINK', KEYS[1])
  end
  -- First of all writes, or a full server would take it; the lease goes whether it does or not.
  put = redis.pcall('HSET', KEYS[1], name, value)
end
redis.call('HDEL', KEYS[2], name)
if type(put) == 'table' then return put end
if put == 0 then return 0 end
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ttl_ms) end
return 1
"""
)

RELEASE: Final = Script(
    _COMMON
    + """
own(KEYS[2], 'hash')
if lease(KEYS[2], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[2], ARGV[1]) end
return 1
"""
)

MARK: Final = Script(
    _COMMON
    + """
local token, mark_ms = ARGV[1], tonumber(ARGV[2])
local now, removed = now_ms(), 0
for i = 1, #KEYS, 3 do
  -- Removed first: once a script has written, a full server lets the rest of it through.
  removed = removed + empty(KEYS[i], KEYS[i + 1])
  own(KEYS[i + 2], 'zset')
  redis.call('ZREMRANGEBYSCORE', KEYS[i + 2], '-inf', text(now))
  redis.call('ZADD', KEYS[i + 2], text(now + mark_ms), token)
  lives_for(KEYS[i + 2], mark_ms)
end
return removed
"""
)

SETTLE: Final = Script(
    _COMMON
    + """
local token, keep_ms = ARGV[1], tonumber(ARGV[2])
local now, removed = now_ms(), 0
for i = 1, #KEYS, 3 do
  removed = removed + empty(KEYS[i], KEYS[i + 1])
  own(KEYS[i + 2], 'zset')
  if keep_ms > 0 then
    redis.call('ZADD', KEYS[i + 2], text(now + keep_ms), token)
    lives_for(KEYS[i + 2], keep_ms)
  else
    redis.call('ZREM', KEYS[i + 2], token)
  end
end
return removed
"""
)
