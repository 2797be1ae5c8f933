"""Duplicates and sessions once more: plain lists and sums, made from the README alone.

In: events of one partition in log order. Out: which are repetitions, and the sessions. Never: a
function of the services.
"""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000
WAITING_MS, OPEN_MS, MOST_KEPT = 600_000, 30 * DAY_MS, 100


@dataclass(frozen=True, slots=True)
class Happened:
    """An accepted or repeated event in the log."""

    offset: int
    received_at: int
    user_id: str
    event_id: str | None
    name: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class Session:
    """A play and the stop that closes it, by their offsets."""

    user_id: str
    play: int
    stop: int
    duration_ms: int


def repetitions(log: list[Happened], window: int) -> set[int]:
    """Return the offsets of the events that came before: compared with every other one."""
    found = set()
    for at, event in enumerate(log):
        for earlier in log[:at]:
            if (
                event.event_id is not None
                and (earlier.user_id, earlier.event_id) == (event.user_id, event.event_id)
                and event.offset - earlier.offset <= window
                and event.received_at - earlier.received_at <= DAY_MS
            ):
                found.add(event.offset)
    return found


def sessions(log: list[Happened]) -> list[Session]:
    """Return the sessions in the order in which they are completed."""
    plays: list[Happened] = []
    stops: list[Happened] = []
    found: list[Session] = []
    for now in log:
        if now.name not in {"play", "stop"}:
            continue
        for kept in [each for each in plays if each.user_id == now.user_id]:
            if kept.received_at < now.received_at - OPEN_MS:
                plays.remove(kept)
        for kept in [each for each in stops if each.user_id == now.user_id]:
            if kept.timestamp < now.received_at - WAITING_MS:
                stops.remove(kept)
        if now.name == "play":
            later = [
                each
                for each in stops
                if each.user_id == now.user_id and each.timestamp > now.timestamp
            ]
            if later and 0 <= now.received_at - now.timestamp <= WAITING_MS:
                stop = min(later, key=lambda each: (each.timestamp, each.offset))
                stops.remove(stop)
                found.append(_session(now, stop))
            else:
                _keep(plays, now)
        else:
            before = [
                each
                for each in plays
                if each.user_id == now.user_id and each.timestamp <= now.timestamp
            ]
            if before:
                play = max(before, key=lambda each: (each.timestamp, each.offset))
                plays.remove(play)
                found.append(_session(play, now))
            else:
                _keep(stops, now)
    return found


def _keep(kept: list[Happened], event: Happened) -> None:
    kept.append(event)
    mine = [each for each in kept if each.user_id == event.user_id]
    if len(mine) > MOST_KEPT:
        kept.remove(min(mine, key=lambda each: (each.timestamp, each.offset)))


def _session(play: Happened, stop: Happened) -> Session:
    return Session(play.user_id, play.offset, stop.offset, stop.timestamp - play.timestamp)
