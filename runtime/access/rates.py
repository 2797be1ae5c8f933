"""Rate limits: buckets that fill with time, of everybody, in a piece of memory of a fixed size.

In: who, how much, and the time. Out: how much is left, or how long to wait. Never: a clock of its
own, memory that grows: whoever has enough addresses chooses how many buckets there are.

A bucket is one number, the moment when it will be full again ("generic cell rate algorithm"). A
full one need not be kept, so the one that makes room for another is the one nearest to it.

Several processes may share the memory. Each reads and writes numbers of eight bytes as a whole and
waits for nobody: where two change a bucket in the same instant, one of the changes is lost.
"""

from __future__ import annotations

import hashlib

WAYS = 8  # places among which a bucket's is chosen; they are looked through
PLACE_BYTES = 16
_MOST_REMEMBERED = 10_000
# Moments further away than any bucket makes them are of another boot or another setting.
_CLOCKS_DIFFER_S = 1.0
_ROUNDING_S = 1e-6  # a sum of many small numbers is not quite what it should be


class Limit:
    """So many a second; what was not used in some seconds may come at once.

    Parameters: what it is a limit of, as the header `RateLimit-Policy` calls it; how many a second;
    and over how many seconds they are counted.
    """

    __slots__ = ("_state", "burst_s", "name", "per_s", "policy")

    def __init__(self, name: str, per_s: int, burst_s: int) -> None:
        self.name = name
        self.per_s = per_s
        self.burst_s = burst_s
        # `RateLimit-Policy`: how many may come at once, over how many seconds.
        self.policy = b'"%b";q=%d;w=%d' % (name.encode(), per_s * burst_s, burst_s)
        self._state = b'"%b";r=%%d;t=%%d' % name.encode()

    def state(self, left_s: float) -> bytes:
        """What is left, as `RateLimit` says it: how many, and when the bucket is full again."""
        if left_s < 0:
            left_s = 0.0
        # A rest is rounded down, seconds are rounded up.
        full_in_s = self.burst_s - left_s
        return self._state % (left_s * self.per_s + _ROUNDING_S, full_in_s + 1 - _ROUNDING_S)


class Buckets:
    """The buckets of one limit.

    Parameters: the limit; memory of `PLACE_BYTES` for each of a number of places that is a multiple
    of `WAYS`, zero in the beginning; and a secret of all who share it, so that nobody outside knows
    whose buckets lie beside each other.
    """

    def __init__(self, limit: Limit, memory: memoryview, secret: bytes) -> None:
        half = len(memory) // 2
        self.limit = limit
        self._owners = memory[:half].cast("Q")
        self._full_at = memory[half:].cast("d")
        self._secret = secret
        self._sets = len(self._owners) // WAYS
        self._places: dict[bytes, tuple[int, int]] = {}

    def take(self, who: bytes, now: float, count: int = 1) -> float:
        """Take for so many; return the seconds' worth that is left, or less than 0: wait so long.

        More at once than the quota costs the whole of it: otherwise it could never come. A refusal
        costs nothing.
        """
        place = self._place_of(who, now)
        limit, buckets = self.limit, self._full_at
        cost_s = min(count / limit.per_s, limit.burst_s)
        until = now + limit.burst_s
        # Between here and the change another process may change it too: as little as can be.
        full_at = buckets[place]
        if full_at < now or full_at > until + _CLOCKS_DIFFER_S:
            full_at = now
        full_at += cost_s
        if full_at <= until + _ROUNDING_S:
            buckets[place] = full_at
            return until - full_at if full_at < until else 0.0
        return until - full_at

    def _place_of(self, who: bytes, now: float) -> int:
        known = self._places.get(who)
        if known is None:
            known = self._remember(who, now)
        place, owner = known
        if self._owners[place] != owner:  # somebody else was given it
            place, _ = self._remember(who, now)
        return place

    def _remember(self, who: bytes, now: float) -> tuple[int, int]:
        if len(self._places) >= _MOST_REMEMBERED:
            self._places.clear()
        digest = hashlib.blake2b(who, digest_size=16, key=self._secret).digest()
        owner = int.from_bytes(digest[:8]) | 1  # 0 is nobody's
        first = int.from_bytes(digest[8:]) % self._sets * WAYS
        self._places[who] = known = self._find(owner, first, now), owner
        return known

    def _find(self, owner: int, first: int, now: float) -> int:
        """Return the place of a bucket, if need be that of the fullest among its neighbours.

        It looks at all of them at once, and again in the end: two processes that see the same
        sender for the first time shall not give it two places.
        """
        owners = self._owners[first : first + WAYS].tolist()
        if owner not in owners:
            full_at = self._full_at[first : first + WAYS].tolist()
            remaining_s = [self._remaining_s(each - now) for each in full_at]
            chosen = first + remaining_s.index(min(remaining_s))
            self._owners[chosen], self._full_at[chosen] = owner, now
            owners = self._owners[first : first + WAYS].tolist()
        return first + owners.index(owner) if owner in owners else first

    def _remaining_s(self, remaining_s: float) -> float:
        """Return how long a bucket takes to be full: no time for one that nobody can have made."""
        return 0.0 if remaining_s > self.limit.burst_s + _CLOCKS_DIFFER_S else max(0.0, remaining_s)
