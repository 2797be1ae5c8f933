import asyncio
import dataclasses

import pytest

from cli.migrate import run_migrations
from cli.position import Place, set_position, show_positions
from processors.sessionizer.position import Position
from runtime.settings import Settings
from runtime.startup import StartupError

PLACE = Place(partition=1, first=10, end=50, position=Position(next=30, offset=29, received_at=1))


@pytest.mark.parametrize(("to", "offset"), [("beginning", 10), ("end", 50), ("30", 30)])
def test_where_to_go_on_from(to: str, offset: int) -> None:
    assert PLACE.resolve(to) == offset


@pytest.mark.parametrize("to", ["", "9", "51", "-1", "x", "３0"])
def test_an_offset_outside_of_the_log_is_refused(to: str) -> None:
    with pytest.raises(StartupError, match="a number from 10 to 50"):
        PLACE.resolve(to)


def test_it_says_what_a_change_means() -> None:
    assert "20 offsets are processed again, and counted twice" in PLACE.consequence(10)
    assert "20 offsets are skipped, and never counted" in PLACE.consequence(50)
    lost = dataclasses.replace(PLACE, position=None)
    assert "may be counted once more" in lost.consequence(30)


def test_it_changes_nothing_before_it_was_confirmed(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(run_migrations(settings))
    set_position(settings, 2, "end", confirmed=False)
    assert "Nothing was changed" in capsys.readouterr().out
    set_position(settings, 2, "beginning", confirmed=True)
    assert "partition 2: position 0" in capsys.readouterr().out
    show_positions(settings)
    assert capsys.readouterr().out.count("position 0, log 0 to 0") == settings.partitions
    with pytest.raises(StartupError, match="There is no partition 4"):
        set_position(settings, 4, "end", confirmed=True)
