"""Which event ids a partition has seen: an exact window over offsets and time of receipt.

In: the user, the id, the offset and the time of receipt of each valid event, in log order. Out:
whether it is a duplicate. Never: a clock, a running maximum; the answer is a function of the log.

An event is a duplicate if one of the same user with the same id, itself a duplicate or not, stands
at most `offsets` before it and was received at most 24 hours before it.
"""

from __future__ import annotations

import mmap
from array import array
from hashlib import blake2b

DAY_MS = 86_400_000


class DuplicateWindow:
    """Remembers ids as 64-bit hashes, keyed with the log id: nobody can make two collide.

    Two generations, each of `offsets` offsets, hold the window between them, so nothing is ever
    deleted one by one. About 30 bytes an id and generation.
    """

    __slots__ = ("_current", "_keyed", "_offsets", "_previous")

    def __init__(self, log_id: str, offsets: int) -> None:
        self._keyed = blake2b(digest_size=8, key=log_id.encode())
        self._offsets = offsets
        self._current: _Generation | None = None
        self._previous: _Generation | None = None

    def observe(self, user_id: str, event_id: str, offset: int, received_at: int) -> bool:
        """Note an occurrence and return whether it is a duplicate.

        Offsets must rise from call to call.
        """
        user = user_id.encode()
        hasher = self._keyed.copy()
        hasher.update(b"%d:%b%b" % (len(user), user, event_id.encode()))
        identity = int.from_bytes(hasher.digest(), "little")
        current = self._current
        if current is None or offset >= current.first + self._offsets:
            current = self._rotate(offset)
        first, earliest = offset - self._offsets, received_at - DAY_MS
        known = current.note(identity, offset, received_at, first, earliest)
        if known or self._previous is None:
            return known
        return self._previous.holds(identity, first, earliest)

    def __len__(self) -> int:
        """Return how many occurrences are kept, also those that have just left the window."""
        return sum(len(each.offsets) for each in (self._previous, self._current) if each)

    @property
    def earliest_received_at(self) -> int | None:
        """When the oldest occurrence that is kept was received (ms), or None."""
        oldest = self._previous or self._current
        return oldest.arrivals[0] if oldest and len(oldest.arrivals) else None

    def _rotate(self, offset: int) -> _Generation:
        previous = self._current
        if previous is not None and offset >= previous.first + 2 * self._offsets:
            previous = None  # a hole in the offsets: nothing of it can be in the window
        self._previous, self._current = previous, _Generation(offset, self._offsets)
        return self._current


class _Generation:
    """An open-addressing table over the occurrences of a range of offsets.

    A slot holds the number of an occurrence plus one; 0 is empty. The table is twice the range at
    least and comes from the kernel untouched, so what is not used costs nothing.
    """

    __slots__ = ("_mask", "_table", "arrivals", "first", "identities", "offsets")

    def __init__(self, first: int, size: int) -> None:
        slots = 1 << (2 * size).bit_length()
        self.first = first
        self._mask = slots - 1
        self._table = memoryview(mmap.mmap(-1, 4 * slots)).cast("I")
        self.identities, self.offsets, self.arrivals = array("Q"), array("Q"), array("q")

    def note(self, identity: int, offset: int, received_at: int, first: int, earliest: int) -> bool:
        """Add an occurrence; return whether there was one at `first` or `earliest` or after both.

        It takes the place of an earlier one that it covers: later in the log and not received
        before it.
        """
        table, mask, identities, arrivals = self._table, self._mask, self.identities, self.arrivals
        slot, place, known = identity & mask, -1, False
        while number := table[slot]:
            number -= 1
            if identities[number] == identity:
                arrival = arrivals[number]
                known = known or (arrival >= earliest and self.offsets[number] >= first)
                if place < 0 and arrival <= received_at:
                    place = slot
            slot = (slot + 1) & mask
        identities.append(identity)
        self.offsets.append(offset)
        arrivals.append(received_at)
        table[slot if place < 0 else place] = len(arrivals)
        return known

    def holds(self, identity: int, first: int, earliest: int) -> bool:
        """Return whether there is an occurrence neither before `first` nor before `earliest`."""
        table, mask, identities = self._table, self._mask, self.identities
        slot = identity & mask
        while number := table[slot]:
            number -= 1
            if (
                identities[number] == identity
                and self.arrivals[number] >= earliest
                and self.offsets[number] >= first
            ):
                return True
            slot = (slot + 1) & mask
        return False
