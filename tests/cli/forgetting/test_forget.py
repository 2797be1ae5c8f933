"""`track forget` on real servers: the user is nowhere, and everybody else is as before."""

from __future__ import annotations

import asyncio
import json

import pytest

from cli.forgetting import waiting
from contracts.forgetting import user_key
from tests.cli.forgetting.lives import event, life_of, live
from tests.cli.forgetting.living import Living
from tests.processors.sessionizer.running import wait_until_processed

NAME = "ada-lovelace"
HOSTILE = f"{NAME}'); DROP TABLE events; --\n\x1b[2J\"\\ö😀"


def test_the_user_is_nowhere_and_everybody_else_is_as_before(living: Living) -> None:
    with living.working():
        live(living, HOSTILE, "grace", "alan", "barbara")
        before, counted = living.of_others(HOSTILE), living.of_all()
        assert "events.user_id" in living.traces_of(NAME)
        assert living.topics.state in living.traces_of(NAME)

        dry = living.say("forget", HOSTILE)
        assert "events: 6 rows" in dry
        assert "sessions: 1 row\n" in dry
        assert "rejected_events: 3 rows" in dry
        assert "1 open play, 1 waiting stop\n" in dry
        assert "Nothing was changed" in dry
        assert "\x1b" not in dry
        assert living.of_others("nobody")["events"] != before["events"]

        done = living.say("forget", HOSTILE, "--yes")
        assert "events: 6 rows gone" in done
        assert "What remains:" in done
        assert living.traces_of(NAME) == []
        assert living.of_others(HOSTILE) == before
        assert living.of_all() == counted
        assert living.say("verify").count("✗") == 0

        # Whoever comes back is new: the stop finds no play, the play no stop that waited.
        living.send(event("stop", HOSTILE, 0.1), event("buy", HOSTILE, 45))
        living.wait_until_done()
        assert living.counts_of(HOSTILE) == {"stop": 1, "buy": 1}
        assert living.rows("SELECT 1 FROM sessions WHERE user_id = {u:String}", u=HOSTILE) == []
        assert living.say("verify").count("✗") == 0
    done = living.say("repair", "--yes")
    assert "goes on from" not in done
    assert living.counts_of(HOSTILE) == {"stop": 1, "buy": 1}


def test_who_was_never_seen_is_unknown(living: Living) -> None:
    assert "is unknown" in living.say("forget", "nobody at all", "--yes", code=1)
    assert living.latest(living.topics.forgotten).get(b"nobody at all") is None
    assert "nobody's user_id" in living.run("forget", "x" * 257).stderr
    assert living.run("forget", "").exit_code == 78
    assert living.run("forget", "--json", "17").exit_code == 2
    assert "a\\x00b is unknown" in living.say("forget", "--json", '"a\\u0000b"', code=1)


def test_what_is_on_its_way_is_forgotten_too(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = "on-the-way"
    with living.working():
        live(living, user_id)
    others, counted = living.of_others(user_id), living.of_all()
    living.send(*life_of(user_id))
    with monkeypatch.context() as patch:
        patch.setattr(waiting, "_STALLED_S", 1.0)
        said = living.say("forget", user_id, "--yes", code=70)
        assert "Nothing is marked yet: start the sessionizer" in said
        assert not living.latest(living.topics.forgotten).get(key_of(living, user_id))
        with living.working("sessionizer"):
            asyncio.run(wait_until_processed(living.settings))
            said = living.say("forget", user_id, "--yes", code=70)
        assert "The user is marked, so nothing of this is lost: start the writer" in said
    assert living.latest(living.topics.forgotten).get(key_of(living, user_id))
    with living.working():
        living.say("forget", user_id, "--yes")
        assert living.traces_of(user_id) == []
        assert living.of_others(user_id) == others
        # What came before it was forgotten is counted among all, once each.
        before = sum(row[2] for row in next(iter(counted.values())))
        after = sum(row[2] for row in next(iter(living.of_all().values())))
        assert after - before == len(life_of(user_id)) - 1  # one was sent before, under its id
        assert "✗" not in living.say("verify")


def key_of(living: Living, user_id: str) -> bytes:
    """Return the key of a user's mark."""
    return user_key(living.log.id, user_id).encode()


def test_what_cannot_be_read_is_said_and_stays(living: Living) -> None:
    user_id = "hidden"
    with living.working():
        living.send(event("buy", user_id, 3))
        living.send(b'{"event":"buy","user_id":"hidden"', b'{"user_id":"hidden","event":1}')
        living.wait_until_done()
        said = living.say("forget", user_id, "--yes")
        assert "1 record that cannot be read and contain the text (events/" in said
        assert living.traces_of(user_id) == ["rejected_events.value"]
        assert living.rows("SELECT value FROM rejected_events WHERE position(value, 'hidden')") == [
            ('{"event":"buy","user_id":"hidden"',)
        ]


def test_ids_of_any_characters(living: Living) -> None:
    ids = ["a\x00b", "-yes", "\ufffd \u202e'", "😀" * 256]
    with living.working():
        living.send(*(event("buy", user_id, 2) for user_id in (*ids, "ab")))
        living.wait_until_done()
        for user_id in ids:
            assert living.counts_of(user_id) == {"buy": 1}
            said = living.say("forget", "--json", "--yes", json.dumps(user_id))
            assert "events: 1 row gone" in said
            assert not set(said) & {"\x00", "\u202e"}
            assert living.counts_of(user_id) == {}
        assert living.counts_of("ab") == {"buy": 1}
    assert living.run("forget", "--", "-yes").exit_code == 0
