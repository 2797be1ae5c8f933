"""Pairing: which stop closes which play. A pure function of a user's plays and stops in log order.

In: what is kept of a user, and the next play or stop. Out: the session that it completes, if any,
and what is kept from then on. Never: a clock, IO, a sum over users.

The numbers of the rules are those of the README's "What a session is".
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from msgspec import Raw

MAX_KEPT = 100  # rule 5, of each kind


@dataclass(frozen=True, slots=True)
class PairingRules:
    """The settings of pairing: which names open and close, and how long things wait (ms)."""

    opens: str = "play"
    closes: str = "stop"
    waiting_stop_ms: int = 600_000
    open_play_ms: int = 30 * 86_400_000


class OpenPlay(msgspec.Struct, array_like=True, gc=False):
    """A play that no stop has closed; times in ms since 1970."""

    timestamp: int
    offset: int
    received_at: int
    event_id: str
    attributes: Raw


class WaitingStop(msgspec.Struct, array_like=True, gc=False):
    """A stop that found no open play and waits for one that it overtook."""

    timestamp: int
    offset: int
    event_id: str


class UserState(msgspec.Struct, array_like=True):
    """What is kept of one user: open plays and waiting stops, both in log order."""

    plays: list[OpenPlay] = msgspec.field(default_factory=list)
    stops: list[WaitingStop] = msgspec.field(default_factory=list)


class Pair(msgspec.Struct, gc=False):
    """A play and the stop that closes it: a session."""

    play_id: str
    stop_id: str
    started_at: int
    ended_at: int
    attributes: Raw


@dataclass(slots=True)
class Dropped:
    """How many plays and stops rule 5 dropped and rule 4 forgot; counted, never silent."""

    plays: int = 0
    stops: int = 0
    old_plays: int = 0
    old_stops: int = 0


def apply_play(
    state: UserState, play: OpenPlay, rules: PairingRules, dropped: Dropped
) -> Pair | None:
    """Open a play, or pair it with the stop that overtook it (rules 1, 3, 4 and 5)."""
    if state.plays or state.stops:
        forget(state, play.received_at, rules, dropped)
    if state.stops and 0 <= play.received_at - play.timestamp <= rules.waiting_stop_ms:
        stop = _earliest_after(state.stops, play.timestamp)
        if stop is not None:
            state.stops.remove(stop)
            return _pair(play, stop)
    state.plays.append(play)
    if len(state.plays) > MAX_KEPT:
        state.plays.remove(min(state.plays, key=_order))
        dropped.plays += 1
    return None


def apply_stop(
    state: UserState, stop: WaitingStop, received_at: int, rules: PairingRules, dropped: Dropped
) -> Pair | None:
    """Close the most recent open play, or wait for one (rules 1 to 5)."""
    if state.plays or state.stops:
        forget(state, received_at, rules, dropped)
    play = _latest_until(state.plays, stop.timestamp)
    if play is not None:
        state.plays.remove(play)
        return _pair(play, stop)
    if rules.waiting_stop_ms:
        state.stops.append(stop)
        if len(state.stops) > MAX_KEPT:
            state.stops.remove(min(state.stops, key=_order))
            dropped.stops += 1
    return None


def forget(state: UserState, received_at: int, rules: PairingRules, dropped: Dropped) -> None:
    """Forget what is too old for anything that arrives at `received_at` (rule 4)."""
    oldest = received_at - rules.open_play_ms
    for play in state.plays:
        if play.received_at < oldest:
            kept = [each for each in state.plays if each.received_at >= oldest]
            dropped.old_plays += len(state.plays) - len(kept)
            state.plays = kept
            break
    oldest = received_at - rules.waiting_stop_ms
    for stop in state.stops:
        if stop.timestamp < oldest:
            left = [each for each in state.stops if each.timestamp >= oldest]
            dropped.old_stops += len(state.stops) - len(left)
            state.stops = left
            break


def _order(kept: OpenPlay | WaitingStop) -> tuple[int, int]:
    return kept.timestamp, kept.offset


def _latest_until(plays: list[OpenPlay], timestamp: int) -> OpenPlay | None:
    """Return the play of the latest timestamp not after this one; of equals the later in the log.

    The list is in log order, so a later element wins with `>=`.
    """
    latest = None
    for play in plays:
        if play.timestamp <= timestamp and (latest is None or play.timestamp >= latest.timestamp):
            latest = play
    return latest


def _earliest_after(stops: list[WaitingStop], timestamp: int) -> WaitingStop | None:
    """Return the stop of the earliest timestamp after this one; of equals the earlier in log."""
    earliest = None
    for stop in stops:
        if stop.timestamp > timestamp and (earliest is None or stop.timestamp < earliest.timestamp):
            earliest = stop
    return earliest


def _pair(play: OpenPlay, stop: WaitingStop) -> Pair:
    return Pair(play.event_id, stop.event_id, play.timestamp, stop.timestamp, play.attributes)
