"""`track forget` on real servers: the user is nowhere, and everybody else is as before."""

from __future__ import annotations

import pytest

from tests.cli.forgetting.lives import event, live
from tests.cli.forgetting.living import Living

NAME = "ada-lovelace"
HOSTILE = f"{NAME}'); DROP TABLE events; --\n\x1b[2J\"\\ö😀"


@pytest.mark.timeout(240)
def test_the_user_is_nowhere_and_everybody_else_is_as_before(living: Living) -> None:
    with living.working():
        live(living, HOSTILE, "grace", "alan", "barbara")
        before, counted = living.of_others(HOSTILE), living.of_all()
        assert "events.user_id" in living.traces_of(NAME)
        assert living.topics.state in living.traces_of(NAME)

        dry = living.say("forget", HOSTILE)
        assert "events: 6 rows" in dry
        assert "sessions: 1 rows" in dry
        assert "rejected_events: 3 rows" in dry
        assert "1 open plays, 1 waiting stops" in dry
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
