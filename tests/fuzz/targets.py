"""What must hold for any bytes, reader by reader.

In: bytes. Out: nothing, or an exception. Never: bytes that a check does not understand and passes
over in a reader that has to understand them.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import Raw
from starlette.datastructures import QueryParams

from contracts.admission import admit, readdress
from contracts.events import (
    MAX_EVENT_BYTES,
    Event,
    Reason,
    Rejected,
    _parse_carefully,
    check_event_id,
    encode_event,
    is_too_large,
    parse_event,
)
from contracts.log import decode_log, encode_log
from contracts.metadata import parse_json
from contracts.records import parse_record
from contracts.rows import encode_row, rejected_row
from contracts.sessions import attributes_of
from contracts.timestamps import format_timestamp, parse_timestamp
from contracts.topics import Partitioner
from ingest.answers import STATUS
from ingest.ids import header_of, parse_idempotency_key
from ingest.openapi import NEVER_OF_A_BODY
from ingest.reading import Reader
from ingest.track import Track
from processors.sessionizer.pairing import UserState
from processors.sessionizer.position import decode_position, encode_position, user_key, user_of
from processors.writer.ranges import decode_intent, encode_intent
from query.question import Code, Question, Refusal
from query.statements.concurrency import Concurrency
from query.statements.lists import ListedEvent, ListedSession, OpenPlay
from query.statements.metrics import EventCount
from query.statements.ranking import Ranked
from query.statements.sessions import SessionStats, SessionSum
from query.table import ENTRIES
from runtime.settings import Settings, SettingsError
from tests.fuzz import reference
from tests.fuzz.batches import check_batches
from tests.fuzz.campaign import Target
from tests.fuzz.records import WINDOW, Record, Sink, partition_of, read_record
from tests.fuzz.requests import OPEN_GUARD, InMemory, read_request, send
from tests.fuzz.sessions import Happened, repetitions, sessions

RECEIVED_AT = 1_737_201_600_000  # 2025-01-18T12:00:00Z
LATER_MS = 7_654_321
YEAR_10000 = 253_402_300_800_000 - LATER_MS
_MOST_CHARACTERS = {"event": 200, "user_id": 256, "event_id": 128}


def check_body(body: bytes) -> None:
    """An event or a rejection, the one that the rules give; the same however it is read."""
    event = parse_event(body)
    if len(body) > MAX_EVENT_BYTES and is_too_large(body):
        assert isinstance(event, Rejected)
        assert event.reason is Reason.TOO_LARGE
        return
    careful, wanted = _parse_carefully(body), reference.read_event(body)
    if isinstance(event, Rejected):
        assert event == careful, careful
        assert event.reason == wanted, wanted
        assert event.reason not in NEVER_OF_A_BODY
        assert event.message
        event.message.encode()
        return
    assert isinstance(careful, Event), careful
    assert not isinstance(wanted, str), wanted
    for found in (event, careful):
        assert (found.event, found.user_id, found.timestamp, found.event_id) == (
            wanted["event"], wanted["user_id"], wanted["timestamp"], wanted["event_id"]
        )  # fmt: skip
        assert reference.read_json(bytes(found.metadata)) == wanted["metadata"]
    check_admission(event, wanted)


def check_admission(event: Event, wanted: dict[str, Any]) -> None:
    """Admission gives what the rules give, once and for ever, also by way of another partition."""
    sent_at = RECEIVED_AT if event.timestamp is None else parse_timestamp(event.timestamp)
    assert sent_at is not None
    for received_at in (RECEIVED_AT, sent_at - 1000, sent_at - 1001, sent_at + LATER_MS):
        if not 0 <= received_at < YEAR_10000:
            continue  # no broker's clock
        timestamp, metadata = admit(event, received_at)
        found = reference.read_json(metadata)
        expected = reference.admit(wanted, received_at)
        assert (timestamp, found) == expected, expected
        assert list(found) == list(expected[1])
        assert len(reference.compact(found)) <= reference.MOST_METADATA
        again = Event(event.event, event.user_id, format_timestamp(timestamp), Raw(metadata))
        for later in (received_at, received_at + LATER_MS):
            assert admit(again, later) == (timestamp, metadata)
        moved = parse_event(encode_event(readdress(event, received_at)))
        assert isinstance(moved, Event), moved
        assert admit(moved, received_at + LATER_MS) == (timestamp, metadata)
        kept = attributes_of(metadata)
        assert reference.read_json(kept) == reference.attributes(found)
        assert len(kept) <= reference.MOST_ATTRIBUTES


def check_record(sample: bytes) -> None:
    """Every record goes one of the four ways, and its row holds what it said."""
    record = read_record(sample, 5, RECEIVED_AT)
    if record is None:
        return
    event = parse_record(record.value, record.headers)
    home, sink = partition_of(1), Sink()
    home.step(record, sink)
    assert home.counts.read == 1
    if isinstance(event, Rejected):
        (row,) = sink.rejected
        assert (row.reason, row.message) == (event.reason, event.message)
        assert row.reason in Reason
        line = encode_row(row)
        assert b"\n" not in line
        assert json.loads(line)["log_offset"] == 5
        return
    (accepted,) = sink.accepted
    assert (accepted.user_id, accepted.event) == (event.user_id, event.event)
    for name, most in _MOST_CHARACTERS.items():
        assert 1 <= len(getattr(event, name) or "x") <= most
    line = encode_row(accepted)
    assert b"\n" not in line.replace(bytes(accepted.metadata), b"")
    assert len(reference.compact(reference.read_json(line)["metadata"])) <= reference.MOST_METADATA
    assert home.counts.accepted == 1
    _check_repetition(home, record, event)
    _check_move(record, event)


def _check_repetition(home: Any, record: Record, event: Event) -> None:
    home.step(Record(6, RECEIVED_AT + 1, record.value, record.headers), Sink())
    assert home.counts.duplicates == (event.event_id is not None)


def _check_move(record: Record, event: Event) -> None:
    """By way of a foreign partition an event becomes what it would have become at home."""
    number = Partitioner(2).partition_of(event.user_id)
    foreign, there, here = partition_of(2, 1 - number), Sink(), Sink()
    foreign.step(record, there)
    ((home, value, headers),) = there.readdressed
    assert home == number
    at_home = partition_of(2, number)
    at_home.step(record, here)
    moved = Sink()
    partition_of(2, number).step(Record(9, RECEIVED_AT + LATER_MS, value, headers), moved)
    for name in ("user_id", "event", "timestamp", "metadata", "source"):
        assert getattr(here.accepted[0], name) == getattr(moved.accepted[0], name), name


def check_http(sample: bytes) -> None:
    """What ingest logs is, for the sessionizer, the event that was sent, with its id."""
    request = read_request(sample)
    if request is None:
        return
    (body, headers), publisher = request, InMemory()
    status, told = send(Track(publisher, OPEN_GUARD, Reader(MAX_EVENT_BYTES)), body, headers)
    taken = publisher.events
    code = json.loads(told).get("code")
    assert status == (STATUS[code] if code else 200)
    sent = parse_event(body)
    if status != 200:
        assert not taken
        assert isinstance(sent, Rejected) or code in {
            "invalid_event_id", "unsupported_media_type", "unsupported_encoding", "too_large",
            "invalid_encoding",
        }  # fmt: skip
        return
    ((user_id, value, own),) = taken
    assert own == []
    logged = parse_record(value, ())
    assert type(logged) is Event, "what is logged needs no mending"
    assert isinstance(sent, Event)
    assert user_id == logged.user_id == sent.user_id
    for name in ("event", "timestamp"):
        assert getattr(logged, name) == getattr(sent, name)
    assert parse_json(bytes(logged.metadata)) == parse_json(bytes(sent.metadata))
    assert logged.event_id is not None
    assert sent.event_id in {None, logged.event_id}
    assert check_event_id(logged.event_id) is None


def check_timestamp(sample: bytes) -> None:
    """A text's time is that of a slow reading, whatever was read before it."""
    text = sample.decode("utf-8", "replace")
    wanted = reference.milliseconds(text)
    assert parse_timestamp(text) == wanted
    assert parse_timestamp(text[:17] + text[17:]) == wanted
    if wanted is not None and wanted < 253_402_300_800_000:
        assert parse_timestamp(format_timestamp(wanted)) == wanted


def check_key(sample: bytes) -> None:
    """A header's key is that of a slow reading, and goes back into a header unharmed."""
    key = parse_idempotency_key(sample)
    assert key == reference.idempotency_key(sample)
    if key is not None and check_event_id(key) is None:
        header = header_of(key)
        assert header.isascii()
        assert not set(header) & set(b"\r\n\0 \t")
        assert unquote(header.decode()) == key


# What a question's rows can be.
ROWS = {
    EventCount,
    SessionSum,
    SessionStats,
    Ranked,
    Concurrency,
    ListedEvent,
    ListedSession,
    OpenPlay,
}


def check_question(sample: bytes) -> None:
    """To each route a query string is a question that can be asked, or a refusal."""
    asked = QueryParams(sample.decode("latin-1")).multi_items()
    for entry in ENTRIES:
        question = entry.parse(asked)
        if isinstance(question, Refusal):
            assert question.code in Code
            question.message.encode()
            continue
        assert isinstance(question, Question)
        last = dict(asked)
        assert last.get("start_date", str(question.start)) == str(question.start)
        assert last.get("end_date", str(question.end)) == str(question.end)
        assert 0 <= question.begins_at <= question.ends_before < 2**32
        assert question.user_id is None or 1 <= len(question.user_id) <= 256
        assert entry.state(question).row in ROWS


def _same_again(
    read: Callable[[bytes], Any], write: Callable[[Any], bytes]
) -> Callable[[bytes], None]:
    """Return a check: what is read can be written and read again, or it is a ValueError."""

    def check(sample: bytes) -> None:
        try:
            value = read(sample)
        except (ValueError, RecursionError):
            return
        if value is not None:
            assert read(write(value)) == value

    return check


check_intent = _same_again(
    lambda sample: decode_intent(sample.decode("utf-8", "replace")),
    lambda intent: encode_intent(intent).encode(),
)
check_position = _same_again(decode_position, encode_position)
check_log = _same_again(decode_log, encode_log)
check_user_key = _same_again(user_of, user_key)
check_state = _same_again(msgspec.json.Decoder(UserState).decode, msgspec.json.Encoder().encode)


def check_settings(sample: bytes) -> None:
    """Any environment is settings, or a sentence that names the variable."""
    try:
        given = json.loads(sample)
        environment = {str(name): str(text) for name, text in given.items()}
    except (ValueError, AttributeError, RecursionError):
        return
    if any(
        "\0" in each or not _is_encodable(each) for pair in environment.items() for each in pair
    ):
        return  # no environment can hold it
    try:
        settings = Settings.from_environment(environment)
    except SettingsError as error:
        refused = str(error)
        settings = None
    if settings is None:
        assert "TRACK_" in refused
        return
    assert settings.partitions >= 1
    assert 1 <= settings.port <= 65535


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_rejection(sample: bytes) -> None:
    """The row of any rejected bytes is JSON within its limits, and holds them."""
    rng = random.Random(zlib.crc32(sample))
    headers = [] if rng.random() < 0.5 else [("name", sample[:9000]), ("", None)]
    row = rejected_row(
        reason=Reason.INVALID_JSON, message="m", source="", topic="t", partition=0, offset=0,
        received_at=0, key=sample[:3000], value=sample, headers=headers,
    )  # fmt: skip
    decoded = json.loads(encode_row(row))
    assert len(decoded["headers"]) <= 16 * 1024
    assert decoded["value_bytes"] == len(sample)
    whole = len(sample) <= 1024 and len(headers) * len(sample[:9000]) < 8000
    assert decoded["whole"] or not whole
    if decoded["value_encoding"] == "utf-8":
        assert decoded["value"].encode() == sample[:MAX_EVENT_BYTES]


_NAMES = ("play", "stop", "play", "stop", "buy")
_USERS = ("ann", "bob")


def check_sequence(sample: bytes) -> None:
    """A log gives the sessions and repetitions that plain lists give, read at once or in parts."""
    log: list[Happened] = []
    received_at = RECEIVED_AT
    # Four bytes an event: who and what, which id, when it happened, when it came.
    for offset, at in enumerate(range(0, min(len(sample), 500) - 3, 4)):
        kind, name, ago, after = sample[at : at + 4]
        received_at += (0, 1, 1000, 60_000, 700_000, 86_400_000, 31 * 86_400_000, -5000)[after % 8]
        happened = received_at - (0, 1, 1000, 30_000, 600_000, 600_001, 10**9, 60_000)[ago % 8]
        log.append(
            Happened(
                offset,
                received_at,
                _USERS[kind % 2],
                None if name % 3 == 0 else f"id{name % 16}",
                _NAMES[(kind >> 1) % len(_NAMES)],
                min(happened, received_at),
            )
        )
    wanted_repetitions = repetitions(log, WINDOW)
    left = [each for each in log if each.offset not in wanted_repetitions]
    wanted = [(each.user_id, each.duration_ms) for each in sessions(left)]
    for cut in (len(log), len(log) // 2):
        sink, partition = Sink(), partition_of(1)
        for each in log[:cut]:
            partition.step(_record_of(each), sink)
        partition = _restored(partition, log[:cut])
        for each in log[cut:]:
            partition.step(_record_of(each), sink)
        assert [(row.user_id, row.duration_ms) for row in sink.sessions] == wanted
        assert [row.log_offset for row in sink.accepted] == [each.offset for each in left]


def _record_of(event: Happened) -> Record:
    body = {
        "event": event.name,
        "user_id": event.user_id,
        "timestamp": format_timestamp(event.timestamp),
        "event_id": event.event_id,
    }
    return Record(event.offset, event.received_at, msgspec.json.encode(body))


def _restored(partition: Any, log: list[Happened]) -> Any:
    """Return the partition as its successor has it: from its records in `state` and the log."""
    partition.take_changes()
    successor = partition_of(1)
    for user_id, state in partition.users.items():
        successor.restore(user_id, state)
    for each in log:
        successor.remember(_record_of(each))
    return successor


TARGETS = (
    Target("body", check_body, 3000, 0.3),
    Target("record", check_record, 2000, 0.2),
    Target("http", check_http, 1000, 0.15),
    Target("batch", check_batches, 500, 0.15),
    Target("sequence", check_sequence, 150, 0.15),
    Target("timestamp", check_timestamp, 2000, 0.1),
    Target("key", check_key, 2000, 0.05),
    Target("question", check_question, 1500, 0.05),
    Target("intent", check_intent, 500, 0.02),
    Target("position", check_position, 500, 0.02),
    Target("state", check_state, 500, 0.03),
    Target("user_key", check_user_key, 500, 0.02),
    Target("log", check_log, 500, 0.02),
    Target("settings", check_settings, 500, 0.04),
    Target("rejection", check_rejection, 500, 0.04),
)
