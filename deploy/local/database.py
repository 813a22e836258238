"""The database of the local stack: how its server is configured, started and pinged."""

from __future__ import annotations

import sys
import urllib.request
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from deploy.local.accounts import users_xml
from deploy.local.addresses import Address, database_address, free_port, refusal
from deploy.local.process import LocalError, Program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.local.accounts import Account

#: Between the ports that ClickHouse has by default, HTTP's 8123 and the native 9000.
_NATIVE_PORT_DISTANCE: Final = 877
#: Merges give way to what people wait for, and large ones, which may take minutes, to small ones.
#: (The first takes CAP_SYS_NICE, as root has it; without, it is left out.) Other servers get the
#: same from `deploy/clickhouse/merges.yaml`. An insert is on the disk when it is acknowledged: no
#: second server would have it after a power cut. Backups are beside the data, not in it.
_CONFIG: Final = """\
<!-- Written anew at each start by deploy/local/database.py. -->
<clickhouse>
  <listen_host>{host}</listen_host>
  <http_port>{http_port}</http_port>
  <tcp_port>{native_port}</tcp_port>
  <users_config>users.xml</users_config>
  <default_profile>default</default_profile>
  <os_threads_nice_value_merge_mutate>10</os_threads_nice_value_merge_mutate>
  <background_merges_mutations_scheduling_policy>shortest_task_first</background_merges_mutations_scheduling_policy>
  <storage_configuration><disks>
    <backups><type>local</type><path>{backups}/</path></backups>
  </disks></storage_configuration>
  <backups><allowed_disk>backups</allowed_disk></backups>
  <merge_tree>
    <fsync_after_insert>{fsync}</fsync_after_insert>
    <fsync_part_directory>{fsync}</fsync_part_directory>
  </merge_tree>
{cluster}</clickhouse>
"""
CLUSTER: Final = "sendlog"


def program(
    url: str,
    data: Path,
    accounts: Sequence[Account],
    *,
    native_port: int | None = None,
    shards: Sequence[Address] = (),
    fsync: bool = True,
) -> Program:
    """Write the configuration of a server at `url`, with its data below `data`; return its program.

    `shards` are the native addresses of all servers of the cluster `CLUSTER`, this one among them.
    Raises `LocalError` if the folder cannot be written.
    """
    address, folder = database_address(url), data.resolve() / "clickhouse"
    config = _CONFIG.format(
        host=escape(address.host),
        http_port=address.port,
        native_port=native_port or _native_port(address),
        backups=escape(str(data.resolve() / "backups")),
        fsync=int(fsync),
        cluster=_cluster(shards),
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)  # it may be of a version that made it for all to read
        for name, text in (("config.xml", config), ("users.xml", users_xml(accounts))):
            (folder / name).write_text(text)
    except OSError as error:
        raise LocalError(
            f"the database's data folder {folder} cannot be written: {error.strerror}; make it"
            " writable or set SENDLOG_DATA_DIR to another folder"
        ) from None
    return Program(
        name="clickhouse",
        command=[sys.executable, "-m", "deploy.local.clickhouse", str(folder)],
        ready=lambda: answers(url),
    )


def answers(url: str) -> bool:
    """Whether ClickHouse's interface answers at `url`."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/ping", timeout=3) as reply:  # noqa: S310
            return bool(reply.read() == b"Ok.\n")
    except OSError:
        return False


def _native_port(address: Address) -> int:
    port = address.port + _NATIVE_PORT_DISTANCE
    return port if not refusal(Address(address.host, port), "") else free_port()


def _cluster(shards: Sequence[Address]) -> str:
    if not shards:
        return ""
    # With a common secret a query runs on each shard as the user who sent it.
    nodes = "".join(
        f"<shard><replica><host>{host}</host><port>{port}</port></replica></shard>"
        for host, port in shards
    )
    return (
        f"  <remote_servers><{CLUSTER}><secret>{CLUSTER}</secret>{nodes}"
        f"</{CLUSTER}></remote_servers>\n"
    )
