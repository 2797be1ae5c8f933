"""Starts ClickHouse on every address, with the user of CLICKHOUSE_USER, as its image does.

The library's own session is a user more, over the loopback address, who may listen and wait.
"""

import os
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from deploy.local.clickhouse_process import main

ETC = Path("/etc/clickhouse-server")
OWN_SESSION = """
<default>
    <password/><networks><ip>127.0.0.1</ip></networks>
    <profile>default</profile><quota>default</quota>
    <grants>
        <query>GRANT SYSTEM LISTEN ON *.*</query>
        <query>GRANT SELECT ON system.numbers</query>
    </grants>
</default>
"""
NAMED = """
<{user}>
    <password>{password}</password><networks><ip>::/0</ip></networks>
    <profile>default</profile><quota>default</quota><access_management>1</access_management>
</{user}>
"""


def _users() -> str:
    users = OWN_SESSION
    if not os.environ.get("CLICKHOUSE_SKIP_USER_SETUP"):
        password = escape(os.environ["CLICKHOUSE_PASSWORD"])
        users += NAMED.format(user=os.environ["CLICKHOUSE_USER"], password=password)
    return f"<clickhouse><users>{users}</users></clickhouse>"


(ETC / "users.d").mkdir(exist_ok=True)
(ETC / "users.d" / "stand-in.xml").write_text(_users(), encoding="utf-8")
os.chdir("/var/lib/clickhouse")  # it would read a config.xml that it finds where it is
CONFIG = str(ETC / "config.xml")
sys.exit(main("/opt/libchdb.so", CONFIG, "/var/lib/clickhouse", ("8123", "9000"), "0.0.0.0"))
