"""Which servers a repair talks to, and that none that it starts outlives it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cli.folder import AlreadyRunningError, sole_owner
from cli.repair.servers import servers_for
from cli.supervisor import StopRequests
from deploy.local.clickhouse import ADMIN, keep_passwords
from deploy.local.kafka import answers_metadata
from deploy.local.processes import ServerError
from runtime.clickhouse import connect_sync
from runtime.settings import Settings
from tests.ports import free_ports


def test_servers_that_are_named_are_used_as_they_are(tmp_path: Path) -> None:
    named = dataclasses.replace(Settings(), home=tmp_path, kafka="k:1", clickhouse="http://c")
    with servers_for(named) as settings:
        assert settings == named
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_stack_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerError, match=r"There is no stack in .* TRACK_HOME"),
        servers_for(dataclasses.replace(Settings(), home=tmp_path)),
    ):
        pass


@pytest.mark.long
def test_the_servers_of_a_stack_that_has_ended_run_as_long_as_the_repair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "partitions").write_text("3\n")
    password = keep_passwords(tmp_path / "clickhouse")[ADMIN]
    ports = [free_ports() for _ in range(3)]
    ended = dataclasses.replace(
        Settings(),
        home=tmp_path,
        kafka_port=ports[0],
        clickhouse_port=ports[1],
        clickhouse_native_port=ports[2],
    )
    with servers_for(ended) as settings:
        assert settings.partitions == 3
        assert password in settings.clickhouse
        assert answers_metadata("127.0.0.1", ports[0])
        connect_sync(settings, database="default").close()
        with (
            pytest.raises(AlreadyRunningError),
            sole_owner(tmp_path, StopRequests(), print),
        ):
            pass
    assert "started kafka and clickhouse" in capsys.readouterr().out
    assert not answers_metadata("127.0.0.1", ports[0])
    assert list((tmp_path / "run").glob("*.json")) == []
