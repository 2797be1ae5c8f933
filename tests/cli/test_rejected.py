"""`track rejected` on real servers: what is kept is shown, and what is sent again is sent once."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from click.testing import CliRunner, Result

import cli.rejected.replay
from cli.main import track
from cli.migrate import run_migrations
from cli.rejected.replay import FAILPOINTS, Replay, read_marks
from contracts.events import Reason
from contracts.replays import Place
from contracts.rows import encode_row, rejected_row
from contracts.timestamps import format_timestamp
from contracts.topics import Partitioner, Topics
from processors.writer.blocks import prefix_of
from runtime.clickhouse import connect_sync
from runtime.failpoints import FAILPOINT
from runtime.settings import Settings
from runtime.startup import StartupError, require_log
from tests.benchmarks.programs import beside_python
from tests.conftest import Servers, settings_on
from tests.environments import environment_of
from tests.processors.sessionizer.running import (
    Expected,
    read_topic,
    wait_until_committed_is_seen,
)

CLOUD = [
    ("ce_specversion", b"1.0"),
    ("ce_type", b"play"),
    ("ce_source", b"/player"),
    ("ce_id", b"17"),
    ("ce_time", b"2025-01-18T14:30:00Z"),
    ("source", b"player"),
]


@dataclasses.dataclass(frozen=True, slots=True)
class Bad:
    """A record that is no event."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    key: bytes | None = b"k"


class Rejecting:
    """A pipeline whose log has bad records, and the tables what the writer makes of them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = Topics.of(settings.namespace)
        asyncio.run(run_migrations(settings))
        self.log_id = asyncio.run(require_log(settings)).id
        self._client = connect_sync(settings)

    def reject(self, *records: Bad) -> list[str]:
        """Write the records into partition 1 and what they become into the table; name them."""
        offsets = asyncio.run(self._produce(records))
        rows = self.expected().rejected[1]
        kept = [row for row in rows if json.loads(row)["log_offset"] in offsets]
        opening = prefix_of(1, self.topics.rejected)
        lines = [b"%b%d,%b" % (opening, n, row[1:]) for n, row in zip(offsets, kept, strict=True)]
        self.insert(lines)
        return [f"events/1/{offset}" for offset in offsets]

    async def _produce(self, records: Sequence[Bad]) -> list[int]:
        async with AIOKafkaProducer(bootstrap_servers=self.settings.kafka) as producer:
            sent = [
                await producer.send(
                    self.topics.events, each.value, each.key, 1, headers=list(each.headers)
                )
                for each in records
            ]
            return [(await each).offset for each in sent]

    def insert(self, lines: Sequence[bytes]) -> None:
        self._client.command(
            "INSERT INTO rejected_events FORMAT JSONEachRow", data=b"\n".join(lines)
        )

    def log(self) -> dict[int, list[Any]]:
        """Return what the log holds, as any reader of it sees it."""
        return asyncio.run(read_topic(self.settings, self.topics.events))

    def expected(self) -> Expected:
        return Expected(self.settings, self.log_id, self.log())

    def accepted(self) -> list[dict[str, Any]]:
        """Return the events that the log gives."""
        return [json.loads(row) for rows in self.expected().accepted.values() for row in rows]

    def events_of(self, user_id: str) -> list[dict[str, Any]]:
        return [row for row in self.accepted() if row["user_id"] == user_id]

    def run(self, *arguments: str, stdin: bytes | None = None) -> Result:
        """Run the command as it is typed."""
        environment: dict[str, str | None] = {**environment_of(self.settings), FAILPOINT: None}
        done = CliRunner().invoke(track, ["rejected", *arguments], input=stdin, env=environment)
        if arguments[0] == "replay":
            places = [TopicPartition(self.topics.replayed, 0)]
            places += [
                TopicPartition(self.topics.events, number)
                for number in range(self.settings.partitions)
            ]
            asyncio.run(wait_until_committed_is_seen(self.settings, places))
        return done

    def say(self, *arguments: str, code: int = 0, stdin: bytes | None = None) -> str:
        result = self.run(*arguments, stdin=stdin)
        assert result.exit_code == code, result.output
        return result.output

    def run_process(self, *arguments: str, failpoint: str = "") -> tuple[int, str]:
        """Run a replay as a process of its own; return how it ended and what it said."""
        done = subprocess.run(
            [beside_python("track"), "rejected", "replay", *arguments],
            env={**environment_of(self.settings), FAILPOINT: failpoint},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def close(self) -> None:
        self._client.command(f"DROP DATABASE {self.settings.namespace}")
        self._client.close()


@pytest.fixture(scope="module")
def pipeline(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rejecting]:
    made = Rejecting(settings_on(servers, tmp_path_factory.mktemp("rejected")))
    yield made
    made.close()


def received_at(pipeline: Rejecting, name: str) -> int:
    offset = int(name.rpartition("/")[2])
    return next(int(row.timestamp) for row in pipeline.log()[1] if row.offset == offset)


def test_what_is_kept_is_shown(pipeline: Rejecting) -> None:
    clear = "\x1b[2J"
    text, binary, none = pipeline.reject(
        Bad(f'{{"event":"play",\n"x":"{clear}"}}'.encode(), CLOUD[-1:], key="käthe".encode()),
        Bad(b"\xff\x00not an event"),
        Bad(None),
    )
    shown = pipeline.say("show", text)
    assert "invalid_json" in shown
    assert "käthe" in shown
    assert clear not in shown
    assert '  {"event":"play",\n  "x":"\\x1b[2J"}' in shown
    assert "whole, 28 bytes" in shown
    assert "player" in shown
    assert "00000000  ff 00 6e 6f" in pipeline.say("show", binary)
    assert "no_value" in pipeline.say("show", none)
    assert pipeline.run("show", binary, "--format", "value").stdout_bytes == b"\xff\x00not an event"
    as_json = json.loads(pipeline.say("show", text, "--format", "json"))
    assert as_json["value"] == f'{{"event":"play",\n"x":"{clear}"}}'
    assert as_json["headers"] == [{"name": "source", "value": "player", "value_encoding": "utf-8"}]
    assert as_json["replayed"] is None
    assert clear not in pipeline.say("list")
    assert "is not kept" in pipeline.say("show", "events/1/999999", code=78)
    assert "is no rejection" in pipeline.say("show", "track.events/1/9", code=2)


def test_the_list_is_filtered_and_goes_on_page_by_page(pipeline: Rejecting) -> None:
    start = time.time_ns() // 1_000_000
    time.sleep(0.05)
    names = pipeline.reject(
        *(Bad(b"{}", [("source", b"web" if n % 2 else b"app")], key=b"%d" % n) for n in range(7))
    )
    since = ("--since", format_timestamp(start), "--format", "ndjson")

    def listed(*options: str) -> list[str]:
        lines = pipeline.say("list", *since, *options).splitlines()
        return [json.loads(line)["id"] for line in lines]

    assert listed() == names[::-1]
    assert listed("--limit", "3") == names[:3:-1]
    assert listed("--limit", "3", "--before", names[4]) == names[3:0:-1]
    assert listed("--source", "web") == names[5::-2]
    assert listed("--key", "4") == [names[4]]
    assert listed("--reason", "invalid_json") == []
    assert listed("--reason", "invalid_json", "--reason", "invalid_event") == names[::-1]
    assert listed("--until", format_timestamp(start)) == []
    table = pipeline.say("list", "--since", format_timestamp(start), "--limit", "2").splitlines()
    assert len(table) == 4
    assert table[1].split()[0] == names[6]
    assert table[-1].endswith(f"--before {names[5]}")
    assert len(json.loads(pipeline.say("list", *since[:2], "--format", "json"))) == 7


def test_a_dry_run_says_what_would_be_and_sends_nothing(pipeline: Rejecting) -> None:
    good, bad = pipeline.reject(Bad(b'{"event":"play"}'), Bad(b"nonsense"))
    before = pipeline.log()
    said = pipeline.say("replay", good, bad, "--set", "user_id=dry", code=1)
    assert f"{good}  would be play of dry at " in said
    assert f"{bad}  stays as it is: its fields cannot be read" in said
    assert (
        "1 could be sent, 0 replayed already, 1 not to be sent. Nothing was sent; say --yes" in said
    )
    assert {n: len(rows) for n, rows in before.items()} == {
        n: len(rows) for n, rows in pipeline.log().items()
    }
    assert "user_id is required" in pipeline.say("replay", good, code=1)


def test_a_repaired_record_is_an_event_received_when_it_first_arrived(pipeline: Rejecting) -> None:
    (name,) = pipeline.reject(Bad(b'{"event":"buy","metadata":{"n":1}}', [("source", b"shop")]))
    arrived = received_at(pipeline, name)
    time.sleep(0.05)
    assert "is now buy of ada" in pipeline.say("replay", name, "--set", "user_id=ada", "--yes")
    (event,) = pipeline.events_of("ada")
    assert event["timestamp"] == arrived < event["received_at"]
    assert event["event_id"] == f"replay:{pipeline.log_id}:{name}"
    assert event["metadata"] == {"n": 1}
    assert event["source"] == "shop"

    said = pipeline.say("replay", name, "--set", "user_id=other", "--yes")
    assert "was replayed already, as the event replay:" in said
    assert "0 sent, 1 replayed already" in said
    assert pipeline.events_of("other") == []
    assert f"as the event replay:{pipeline.log_id}:{name} of the user ada" in pipeline.say(
        "show", name
    )
    assert name not in pipeline.say("list", "--not-replayed")


def test_what_each_repair_makes(pipeline: Rejecting, tmp_path: Path) -> None:
    soon = format_timestamp(time.time_ns() // 1_000_000 + 3_600_000)
    names = pipeline.reject(
        Bad(b'{"song":1}', CLOUD),
        Bad(b'{"event":"play","user_id":"u1","timestamp":"yesterday"}'),
        Bad(b'{"event":"play","user_id":"u2","event_id":"~mine","metadata":[]}'),
        Bad(b"\xff"),
        Bad(b'{"event":"play","user_id":7}'),
        Bad(b"[]"),
    )
    cloud, untimed, named, broken, number, stdin = names
    body = tmp_path / "body.json"
    body.write_text(f'{{"event":"buy","user_id":"u3","timestamp":"{soon}"}}')
    pipeline.say("replay", cloud, "--set", "user_id=u0", "--yes")
    pipeline.say("replay", untimed, "--unset", "timestamp", "--yes")
    pipeline.say("replay", named, "--set", "event_id=m", "--set", 'metadata={"a":1e400}', "--yes")
    pipeline.say("replay", broken, "--value", str(body), "--yes")
    pipeline.say("replay", number, "--set", "user_id=7", "--yes")
    pipeline.say("replay", stdin, "--value", "-", "--yes", stdin=b'{"event":"x","user_id":"u5"}')
    by_user = {row["user_id"]: row for row in pipeline.accepted()}
    assert by_user["u0"]["event_id"] == "/player\n17"
    assert by_user["u0"]["timestamp"] == 1737210600000
    assert by_user["u0"]["metadata"] == {"song": 1}
    assert by_user["u0"]["source"] == "player"
    assert by_user["u1"]["timestamp"] == received_at(pipeline, untimed)
    assert (by_user["u2"]["event_id"], by_user["u2"]["metadata"]) == ("m", {"a": "1e400"})
    assert by_user["u3"]["timestamp"] == received_at(pipeline, broken)
    assert by_user["u3"]["metadata"]["originalTimestamp"] == soon
    assert by_user["7"]["event"] == "play"
    assert by_user["u5"]["event_id"] == f"replay:{pipeline.log_id}:{stdin}"


def test_what_cannot_be_sent_again_says_why(pipeline: Rejecting) -> None:
    cut, headers = pipeline.reject(
        Bad(b'{"event":"play","user_id":"u","metadata":"' + b"\xc3\xa9" * 40_000 + b'"}'),
        Bad(b"{}", [(f"h{number}", b"x" * 100) for number in range(200)]),
    )
    for name in (cut, headers):
        said = pipeline.say("replay", name, "--set", "user_id=u", "--yes", code=1)
        assert "only a part of it was kept" in said
    whole = b'{"event":"play","user_id":"u","metadata":"' + b"\xc3\xa9" * 40_000 + b'"}'
    shown = pipeline.say("show", cut)
    assert "the first 65,536 bytes of 80,044" in shown
    assert hashlib.sha256(whole).hexdigest() in shown
    assert "ééé" in shown
    pipeline.say("replay", cut, "--value", "-", "--yes", stdin=b'{"event":"x","user_id":"short"}')
    assert len(pipeline.events_of("short")) == 1

    row = rejected_row(
        reason=Reason.REFUSED_BY_STORAGE,
        message="Cannot parse",
        source="",
        topic=pipeline.topics.accepted,
        partition=0,
        offset=5,
        received_at=time.time_ns() // 1_000_000,
        key=b"u",
        value=b'{"event_id":"e","user_id":"u","event":"play"}',
        headers=(),
    )
    opening = prefix_of(0, pipeline.topics.accepted)
    pipeline.insert([b"%b%d,%b" % (opening, 5, encode_row(row)[1:])])
    assert "accepted/0/5" in pipeline.say("list", "--reason", "refused_by_storage")
    said = pipeline.say("replay", "accepted/0/5", "--yes", code=1)
    assert "it is a row of an event that was accepted" in said
    assert "events/1/999999  is not kept" in pipeline.say("replay", "events/1/999999", code=1)


def test_an_event_that_has_an_id_keeps_it_and_is_a_repetition_like_any_other(
    pipeline: Rejecting,
) -> None:
    value = {"event": "buy", "user_id": "eve", "event_id": "order-1", "timestamp": "soon"}
    (name,) = pipeline.reject(Bad(json.dumps(value).encode()))
    home = Partitioner(pipeline.settings.partitions).partition_of("eve")

    async def send_right() -> None:
        async with AIOKafkaProducer(bootstrap_servers=pipeline.settings.kafka) as producer:
            right = json.dumps({**value, "timestamp": None}).encode()
            await producer.send_and_wait(pipeline.topics.events, right, b"eve", home)

    pipeline.say("replay", name, "--unset", "timestamp", "--yes")
    asyncio.run(send_right())
    (event,) = pipeline.events_of("eve")
    assert event["event_id"] == "order-1"
    assert event["timestamp"] == received_at(pipeline, name)


def test_many_are_sent_in_order_of_their_arrival(pipeline: Rejecting) -> None:
    names = pipeline.reject(
        *(Bad(b'{"event":"x","timestamp":"%d"}' % n, [("source", b"many")]) for n in range(1100))
    )
    options = ("--source", "many", "--set", "user_id=many", "--unset", "timestamp")
    assert "1,100 could be sent" in pipeline.say("replay", *options)
    assert "1,100 sent, 0 replayed already" in pipeline.say("replay", *options, "--yes")
    again = pipeline.say("replay", *options, "--yes").splitlines()
    assert again == ["0 sent, 1,100 replayed already, 0 not to be sent."]
    ids = [row["event_id"] for row in pipeline.events_of("many")]
    assert ids == [f"replay:{pipeline.log_id}:{name}" for name in names]


def test_it_is_edited_as_a_body_of_post_track(
    pipeline: Rejecting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = pipeline.reject(Bad(b'{"n":1.50}', CLOUD))
    editor = tmp_path / "editor"
    editor.write_text(
        '#!/bin/sh\ngrep -q \'"n": 1.50\' "$1" || exit 1\n'
        'sed -i \'s/"event": "play",/"event": "play", "user_id": "edith",/\' "$1"\n'
        # To be quicker than the clock of the file system is to have done nothing.
        'touch -d "+2 seconds" "$1"\n'
    )
    editor.chmod(0o700)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    assert "Send it?" in pipeline.say("replay", name, "--edit", stdin=b"n\n", code=1)
    assert pipeline.events_of("edith") == []
    said = pipeline.say("replay", name, "--edit", stdin=b"y\n")
    assert "would be play of edith" in said
    assert "1 sent" in said
    (event,) = pipeline.events_of("edith")
    assert event["event_id"] == "/player\n17"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("events/1/0", "--all"),
        ("events/1/0", "--reason", "no_value"),
        ("--all", "--edit"),
        ("events/1/0", "events/1/1", "--value", "-"),
        ("events/1/0", "--edit", "--set", "user_id=u"),
        ("events/1/0", "--set", "name=x"),
        ("events/1/0", "--set", "metadata={"),
        ("--since", "yesterday"),
        ("events/1/-1",),
    ],
)
def test_what_is_not_clear_is_refused(pipeline: Rejecting, arguments: Sequence[str]) -> None:
    assert "Usage" in pipeline.say("replay", *arguments, code=2)


def test_killed_anywhere_and_run_again_each_is_sent_once(pipeline: Rejecting) -> None:
    """All points side by side would fence each other: one after the other, each between others."""
    committed = {"replay.after_commit"}
    for point in FAILPOINTS:
        user = point.replace(".", "-")
        names = pipeline.reject(*(Bad(b'{"event":"play"}') for _ in range(3)))
        options = (*names, "--set", f"user_id={user}", "--yes")
        code, said = pipeline.run_process(*options, failpoint=point)
        assert code == -signal.SIGKILL, f"{point}: {said}"
        said = pipeline.say("replay", *options)
        assert ("3 replayed already" in said) == (point in committed), f"{point}: {said}"
        assert ("3 sent" in said) == (point not in committed), f"{point}: {said}"
        ids = [row["event_id"] for row in pipeline.events_of(user)]
        assert ids == [f"replay:{pipeline.log_id}:{name}" for name in names], point
        marks = asyncio.run(read_marks(pipeline.settings))
        assert marks.keys() >= set(names), point
    # The window of duplicates must not be what hides a second sending.
    sent = [
        row for rows in pipeline.log().values() for row in rows if b"replay:" in (row.value or b"")
    ]
    ids = [json.loads(row.value)["event_id"] for row in sent]
    assert len(set(ids)) == len(ids)


def test_of_two_at_once_the_earlier_is_fenced_and_says_so(
    pipeline: Rejecting, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    names = pipeline.reject(*(Bad(b'{"event":"play"}') for _ in range(3)))
    options = (*names, "--set", "user_id=two", "--yes")
    real = Replay._write

    async def overtaken(self: Replay, *arguments: Any) -> None:
        """A whole other run goes between the marks and the transaction."""
        _, said = await asyncio.to_thread(pipeline.run_process, *options)
        assert "3 sent" in said, said
        await real(self, *arguments)

    monkeypatch.setattr(cli.rejected.replay.Replay, "_write", overtaken)
    said = pipeline.say("replay", *options, code=78)
    assert "Another replay began meanwhile" in said
    assert "is now" not in said
    assert "Traceback" not in capfd.readouterr().err
    assert len(pipeline.events_of("two")) == 3


def test_who_comes_after_another_finds_its_marks(
    pipeline: Rejecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run ends right before the producer of this one starts."""
    names = pipeline.reject(*(Bad(b'{"event":"play"}') for _ in range(3)))
    options = (*names, "--set", "user_id=after", "--yes")
    real = AIOKafkaProducer.start

    async def late(self: AIOKafkaProducer) -> None:
        _, said = await asyncio.to_thread(pipeline.run_process, *options)
        assert "3 sent" in said, said
        await real(self)

    monkeypatch.setattr(AIOKafkaProducer, "start", late)
    assert "0 sent, 3 replayed already" in pipeline.say("replay", *options)
    monkeypatch.undo()
    assert len(pipeline.events_of("after")) == 3


def test_marks_of_another_log_are_refused(settings: Settings) -> None:
    """The topics made anew but for `replayed`: its marks would hide new rejections."""
    from tests.cli.test_migrate import drop_topics

    asyncio.run(run_migrations(settings))
    topics = Topics.of(settings.namespace)

    async def mark() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
            await producer.send_and_wait(topics.replayed, b"{}", b"events/0/0")

    asyncio.run(mark())
    asyncio.run(drop_topics(settings, topics.meta))
    client = connect_sync(settings)
    client.command("TRUNCATE TABLE log")
    client.close()
    with pytest.raises(StartupError, match=rf"Topic {topics.replayed} has records"):
        asyncio.run(run_migrations(settings))


def test_an_installation_from_before_gets_the_topic_by_migrate(settings: Settings) -> None:
    from tests.cli.test_migrate import drop_topics

    asyncio.run(run_migrations(settings))
    topic = Topics.of(settings.namespace).replayed
    asyncio.run(drop_topics(settings, topic))
    with pytest.raises(StartupError, match=rf"Topic {topic} is not there.*track migrate"):
        asyncio.run(require_log(settings))
    assert asyncio.run(run_migrations(settings)) == [f"topic {topic} made"]
    asyncio.run(require_log(settings))


def test_a_server_that_is_away_is_named(settings: Settings) -> None:
    away = dataclasses.replace(settings, kafka="127.0.0.1:1", clickhouse="http://u:p@127.0.0.1:1")
    environment = environment_of(away)
    for command in (["list"], ["show", "events/0/0"], ["replay", "--all"]):
        result = CliRunner().invoke(track, ["rejected", *command], env=environment)
        assert result.exit_code == 70
        assert "does not answer" in result.output


def test_places_are_typed_as_they_are_shown() -> None:
    assert str(Place.parse("events/3/1042")) == "events/3/1042"
    for text in ("events/03/1", "events/1", "meta/0/1", "events/1/2 ", "events/-1/2", "Events/1/2"):
        assert Place.parse(text) is None, text
