"""Simulated idle time of one run: the recorded time of its last use is moved back, without waiting."""

from __future__ import annotations

import sqlite3

from deepcompress_service.difficulty.stores.memory import MemoryStore
from deepcompress_service.difficulty.stores.redis import RedisStore
from deepcompress_service.difficulty.stores.sqlite import SqliteStore

from .driving import Driver

# KEYS[1] any key of the run; ARGV: seconds, or '' to take the note of the last use away.
_PASS = """
local P = string.match(KEYS[1], '^dc:{.*}:')
if ARGV[1] == '' then return redis.call('DEL', P .. 'a') end
local last = redis.call('GET', P .. 'a')
if last then redis.call('SET', P .. 'a', last - ARGV[1]) end
for _, key in ipairs(redis.call('KEYS', P .. '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 and left <= ARGV[1] * 1000 then redis.call('DEL', key)
  elseif left >= 0 then redis.call('PEXPIRE', key, left - ARGV[1] * 1000) end
end
"""


def let_pass(driver: Driver, run: str, seconds: int | None) -> None:
    """Let `seconds` go by in which the run is not used. None: as if a version that records no use had written it."""
    store = driver.store
    if isinstance(store, MemoryStore):
        if seconds is None:
            store._state.used.pop(run, None)
        elif run in store._state.used:
            store._state.used[run] -= seconds
    elif isinstance(store, SqliteStore):
        with sqlite3.connect(store._path) as connection:
            if seconds is None:
                connection.execute("DELETE FROM used WHERE run = ?", (run,))
            else:
                connection.execute("UPDATE used SET at = at - ? WHERE run = ?", (seconds, run))
        connection.close()
    else:
        assert isinstance(store, RedisStore)
        key = f"dc:{{{run}}}:m"
        driver.wait(store._link.command(key, "EVAL", _PASS, 1, key, "" if seconds is None else seconds))
