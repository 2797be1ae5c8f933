"""Which event ids a partition has seen: an exact window over offsets and time of receipt.

In: the user, the id, the offset and the time of receipt of each valid event, in log order. Out:
whether it is a duplicate. Never: a clock, a running maximum; the answer is a function of the log.

An event is a duplicate if one of the same user with the same id, itself a duplicate or not, stands
at most `offsets` before it and was received at most 24 hours before it.
"""

from __future__ import annotations

from array import array

DAY_MS = 86_400_000
_64_BITS = (1 << 64) - 1


class DuplicateWindow:
    """Remembers ids as 64-bit hashes: the interpreter's SipHash, keyed at random in each process.

    Nobody can make two ids collide on purpose, and what is kept never leaves the process. Two
    generations, each of `offsets` offsets, hold the window between them, so nothing is ever deleted
    one by one.
    """

    __slots__ = ("_current", "_offsets", "_previous", "_rotate_at")

    def __init__(self, offsets: int) -> None:
        self._offsets = offsets
        self._current = _Generation()
        self._previous = _Generation()
        self._rotate_at = -1

    def observe(self, user_id: str, event_id: str, offset: int, received_at: int) -> bool:
        """Note an occurrence and return whether it is a duplicate.

        Offsets must rise from call to call.
        """
        identity = hash((user_id, event_id)) & _64_BITS
        if offset >= self._rotate_at:
            self._rotate(offset)
        current, previous = self._current, self._previous
        table, mask, known = current.table, current.mask, False
        slot = identity & mask
        while number := table[slot]:
            if current.identities[number - 1] == identity:
                first, earliest = offset - self._offsets, received_at - DAY_MS
                slot, known = current.place(slot, identity, received_at, first, earliest)
                break
            slot = (slot + 1) & mask
        current.note(slot, identity, offset, received_at)
        if not known and previous.table[identity & previous.mask]:
            return previous.holds(identity, offset - self._offsets, received_at - DAY_MS)
        return known

    def __len__(self) -> int:
        """Return how many occurrences are kept, also those that have just left the window."""
        return len(self._previous.offsets) + len(self._current.offsets)

    @property
    def earliest_received_at(self) -> int | None:
        """When the oldest occurrence that is kept was received (ms), or None."""
        arrivals = self._previous.arrivals or self._current.arrivals
        return arrivals[0] if arrivals else None

    def _rotate(self, offset: int) -> None:
        # After a hole of a whole generation, nothing of the last one can be in the window.
        stale = offset >= self._rotate_at + self._offsets
        self._previous = _Generation() if stale else self._current
        self._current = _Generation()
        self._rotate_at = offset + self._offsets


class _Generation:
    """An open-addressing table over the occurrences of a range of offsets.

    A slot holds the number of an occurrence plus one; 0 is empty. At most half of the slots are
    taken: 32 to 88 bytes an occurrence, all told.
    """

    __slots__ = ("arrivals", "identities", "mask", "offsets", "table")

    def __init__(self) -> None:
        self._resize(1 << 10)
        self.identities, self.offsets, self.arrivals = array("Q"), array("Q"), array("q")

    def place(
        self, slot: int, identity: int, received_at: int, first: int, earliest: int
    ) -> tuple[int, bool]:
        """Return the slot for an occurrence of an id that has one, and whether it is known.

        Known: there was one neither before `first` nor before `earliest`. It takes the place of an
        earlier one that it covers: later in the log and not received before it.
        """
        covered, known = -1, False
        while number := self.table[slot]:
            number -= 1
            if self.identities[number] == identity:
                arrival = self.arrivals[number]
                known = known or (arrival >= earliest and self.offsets[number] >= first)
                if covered < 0 and arrival <= received_at:
                    covered = slot
            slot = (slot + 1) & self.mask
        return (slot if covered < 0 else covered), known

    def note(self, slot: int, identity: int, offset: int, received_at: int) -> None:
        """Add an occurrence, in a slot that is empty or whose occurrence it covers."""
        self.identities.append(identity)
        self.offsets.append(offset)
        self.arrivals.append(received_at)
        self.table[slot] = number = len(self.arrivals)
        if 2 * number > self.mask:
            self._grow()

    def holds(self, identity: int, first: int, earliest: int) -> bool:
        """Return whether there is an occurrence neither before `first` nor before `earliest`."""
        table = self.table
        slot = identity & self.mask
        while number := table[slot]:
            number -= 1
            if (
                self.identities[number] == identity
                and self.arrivals[number] >= earliest
                and self.offsets[number] >= first
            ):
                return True
            slot = (slot + 1) & self.mask
        return False

    def _grow(self) -> None:
        """Lay the table anew, eight times as large: seldom, and under 50 ms up to a million."""
        kept = [number for number in self.table if number]
        self._resize(8 * len(self.table))
        table, mask = self.table, self.mask
        for number in kept:
            slot = self.identities[number - 1] & mask
            while table[slot]:
                slot = (slot + 1) & mask
            table[slot] = number

    def _resize(self, slots: int) -> None:
        self.table = array("I", bytes(4 * slots))
        self.mask = slots - 1
