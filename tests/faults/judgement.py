"""The judgement: what a trial left, held against the ledger and the oracle.

In: the ledger, the oracle, and the evidence: what tables, answers, offsets and processes show. Out:
a sentence for each thing that is wrong; none means that the promise was kept. Never: IO, a
tolerance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.ledger import Ledger, Marks, Outcome
from tests.faults.oracle import Oracle, Session

_SHOWN = 5


@dataclass(slots=True)
class Answered:
    """What a question was answered, beside what it must be."""

    question: str
    answered: object
    expected: object


@dataclass(slots=True)
class Evidence:
    """What a trial left behind.

    Attributes:
        stored: the events in ClickHouse, marked in the ledger.
        sessions: the rows of the table `sessions`; an id that stands there twice has two rows.
        rejected: how many rows of the topic `rejected` stand in ClickHouse.
        put_aside: how many rows of the other topics ClickHouse has refused.
        records: how many records the log holds.
        answers: questions to /metrics and /sessions.
        lags: how many records each group has not processed, by where they lie.
        rss_mb: the most memory that each service has used, and its bound.
        verified: what `track verify` found.
        ends: processes that ended in a way that none may.
    """

    stored: Marks
    sessions: Sequence[tuple[str, Session]]
    rejected: int
    put_aside: int
    records: int
    answers: Sequence[Answered] = ()
    lags: Mapping[str, int] = field(default_factory=dict)
    rss_mb: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    verified: Sequence[str] = ()
    ends: Sequence[str] = ()


def judge(ledger: Ledger, oracle: Oracle, evidence: Evidence) -> list[str]:
    """Return what is wrong, as sentences."""
    return [
        *_judge_events(ledger, oracle, evidence),
        *_judge_sessions(oracle, evidence),
        *_judge_sums(ledger, oracle, evidence),
        *_judge_answers(evidence),
        *(
            f"{count} records are unread: {where}"
            for where, count in evidence.lags.items()
            if count
        ),
        *(
            f"{service} has used {used:.0f} MB; it may use {bound:.0f}"
            for service, (used, bound) in evidence.rss_mb.items()
            if used > bound
        ),
        *(f"track verify: {said}" for said in evidence.verified),
        *evidence.ends,
    ]


def _judge_events(ledger: Ledger, oracle: Oracle, evidence: Evidence) -> list[str]:
    """Acknowledged ⊆ stored ⊆ acknowledged ∪ unknown; each once; and the oracle says the same."""
    logged, stored = oracle.mark(ledger), evidence.stored
    wrong: dict[str, list[str]] = {}
    for lane, number, outcome in ledger:
        times, wanted = stored.times(lane, number), logged.times(lane, number)
        if outcome == Outcome.ACKNOWLEDGED and not times and wanted:
            what = "acknowledged and in the log, but not stored"
        elif outcome == Outcome.ACKNOWLEDGED and not times:
            what = "acknowledged, but neither in the log nor stored"
        elif outcome == Outcome.REFUSED and times:
            what = "refused, but stored"
        elif times > 1:
            what = "stored more than once"
        elif times != wanted:
            what = "stored, but not in the log" if times else "in the log, but not stored"
        else:
            continue
        wrong.setdefault(what, []).append(lane.event_id(number))
    for place, marks in (("stored", stored), ("in the log", logged)):
        if marks.foreign:
            wrong[f"{place}, but sent by nobody"] = [" ".join(each) for each in marks.foreign]
    return [f"{len(events)} events were {what}: {_some(events)}" for what, events in wrong.items()]


def _judge_sessions(oracle: Oracle, evidence: Evidence) -> list[str]:
    """Every session of the oracle's once, with its times to the millisecond, and no other."""
    wrong: dict[str, list[str]] = {}
    found: set[str] = set()
    for session_id, session in evidence.sessions:
        expected = oracle.sessions_by_id.get(session_id)
        if session_id in found:
            wrong.setdefault("stored more than once", []).append(session_id)
        elif expected is None:
            wrong.setdefault("stored, but not implied by the log", []).append(session_id)
        elif expected != session:
            wrong.setdefault(f"wrong ({session}, not {expected})", []).append(session_id)
        found.add(session_id)
    if missing := oracle.sessions_by_id.keys() - found:
        wrong["not stored"] = sorted(missing)
    return [f"{len(ids)} sessions are {what}: {_some(ids)}" for what, ids in wrong.items()]


def _judge_sums(ledger: Ledger, oracle: Oracle, evidence: Evidence) -> list[str]:
    """Each record went one way: accepted + rejected + duplicates + re-routed = records read."""
    ways, problems = oracle.ways(), []
    ways["accepted"] = evidence.put_aside + sum(
        evidence.stored.times(lane, number) for lane, number, _ in ledger
    )
    ways["rejected"] = evidence.rejected
    if ways.total() != evidence.records:
        problems.append(
            f"The log has {evidence.records} records, but {dict(ways)} add up to others"
        )
    if evidence.put_aside != oracle.put_aside:
        problems.append(
            f"{evidence.put_aside} rows were refused by ClickHouse; it must be {oracle.put_aside}"
        )
    sent = evidence.records - ways["readdressed"]
    if sent > ledger.attempts:
        problems.append(f"The log has {sent} records of senders, but {ledger.attempts} were tried")
    return problems


def _judge_answers(evidence: Evidence) -> list[str]:
    return [
        f"{each.question} was answered {each.answered}; it must be {each.expected}"
        for each in evidence.answers
        if each.answered != each.expected
    ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
