"""The broker of the local stack: one Apache Kafka node, run from its own jars."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from base64 import urlsafe_b64encode
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from deploy.local.addresses import broker_address, free_port
from deploy.local.kafka_jars import check_jars
from deploy.local.process import LocalError, Program, Server, tethered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_POM: Final = Path(__file__).with_name("kafka") / "pom.xml"
_LOGGING: Final = Path(__file__).with_name("kafka") / "log4j2.properties"
_JAVA: Final = 17  # what Kafka 4 needs
_LARGEST_RECORD: Final = 16 << 20
#: One pass of compilation, one thread to collect garbage. Java would make the best of code that
#: runs for days, and take a core for it in a node's first minutes. On two slow cores 99 of 100 of
#: 2,000 facts a second are seen after 0.9 s, not 1.7 to 2.9; of 20,000, after 2.0 s, not 1.6; a
#: backlog of 400,000 costs the node 1.2 s per 100,000, not 2.7; tests a fifth less.
_FRUGAL: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_PROPERTIES: Final = """\
# Written anew at each start by deploy/local/broker.py.
node.id=1
process.roles=broker,controller
listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{address}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={logs}
auto.create.topics.enable=false
message.max.bytes={largest}
replica.fetch.max.bytes={largest}
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# After a crash the node is let in again only when the lease of its former self has run out.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""


class Broker(Server):
    """A broker for tests."""

    def __init__(self, bootstrap: str, data: Path, **options: Any) -> None:
        self.bootstrap = bootstrap
        super().__init__(program(bootstrap, data, **options), data / "kafka.log")


def program(
    bootstrap: str,
    data: Path,
    *,
    properties: Mapping[str, str] = MappingProxyType({}),
    ready: Callable[[], bool] | None = None,
) -> Program:
    """Get everything ready for a node that listens on `bootstrap` and keeps its data in `data`.

    `properties` of Kafka's replace those that it would have; where they ask for a login, `ready`
    has to tell whether it answers. Raises `LocalError` if Java, Maven, an address or the folder is
    not as it has to be.
    """
    address = broker_address(bootstrap)
    java, folder = find_java(), data.resolve() / "kafka"
    jars = find_jars()
    file = folder / "server.properties"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(
            _PROPERTIES.format(
                address=address,
                controller=free_port(address.port),
                logs=folder / "log",
                largest=_LARGEST_RECORD,
            )
            # Of a property that is there twice Java takes the last.
            + "".join(f"{name}={value}\n" for name, value in properties.items())
        )
        _format(java, jars, folder, file)
    except OSError as error:
        raise LocalError(
            f"the broker's data folder {folder} cannot be written: {error.strerror}; make it"
            " writable or set SENDLOG_DATA_DIR to another folder"
        ) from None
    return Program(
        name="kafka",
        command=[*_run(java, jars), "-Xms256m", "-Xmx768m", "kafka.Kafka", str(file)],
        ready=ready or (lambda: topics(bootstrap) is not None),
    )


def topics(bootstrap: str) -> frozenset[str] | None:
    """Ask a broker for its topics; None if it does not answer, or is not yet one of its cluster."""
    with suppress(KafkaError, OSError), _admin(bootstrap) as admin:
        if admin.describe_cluster()["brokers"]:
            return frozenset(admin.list_topics())
    return None


def group_members(bootstrap: str, group: str) -> int:
    """Count the members of a consumer group; 0 if the broker does not answer."""
    with suppress(KafkaError, OSError), _admin(bootstrap) as admin:
        return len(admin.describe_groups([group])[group]["members"])
    return 0


def _admin(bootstrap: str) -> KafkaAdminClient:
    # The client would go on trying to connect for seconds; a bare connection says no at once.
    socket.create_connection(broker_address(bootstrap), timeout=2).close()
    return KafkaAdminClient(
        bootstrap_servers=bootstrap, bootstrap_timeout_ms=2000, request_timeout_ms=5000
    )


def find_java() -> str:
    """Find a Java that is new enough."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None) or shutil.which("java")
    advice = f"install a Java runtime {_JAVA} or newer, or set JAVA_HOME to one"
    if java is None:
        raise LocalError(f"java was not found: {advice}")
    output = _output([java, "-version"]).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', output)
    if found is None or int(found[1]) < _JAVA:
        version = found[1] if found else "of no known version"
        raise LocalError(f"{java} is Java {version}: {advice}")
    return java


def find_jars() -> Path:
    """Return the folder of Kafka's jars, which Maven fetches once, if they are as listed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sendlog"
    jars = cache / f"kafka-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:16]}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise LocalError("mvn was not found: install Apache Maven, which fetches Kafka's jars")
    sys.stderr.write("Maven fetches Kafka's jars; this happens only once\n")
    cache.mkdir(parents=True, exist_ok=True)
    # Into a folder beside it and then moved, so that what is there is always complete.
    with tempfile.TemporaryDirectory(dir=cache) as part:
        target = Path(part) / "jars"
        fetch = "dependency:copy-dependencies"
        # Without --strict-checksums Maven only warns of a file that has another one.
        options = ["-B", "-q", "--strict-checksums", "-f", str(_POM)]
        result = _output([maven, *options, fetch, f"-DoutputDirectory={target}"])
        if result.returncode:
            reasons = re.findall(r"\[ERROR\] +(\S.*)", result.stdout)  # a colour may be before it
            reason = (reasons or [f"exit code {result.returncode}"])[0]
            raise LocalError(
                f"Maven could not fetch Kafka's jars: {reason}; with the network back, try again"
            )
        check_jars(target)
        with suppress(OSError):  # another stack was faster
            target.rename(jars)
    return jars


def _output(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - Java's and Maven's own commands
        tethered(command), capture_output=True, text=True, check=False
    )


def _run(java: str, jars: Path) -> list[str]:
    return [java, *_FRUGAL, "-cp", f"{jars}/*", f"-Dlog4j2.configurationFile={_LOGGING}"]


def _format(java: str, jars: Path, folder: Path, properties: Path) -> None:
    """Lay out the storage, once. The mark is set last: what has no mark is laid out anew."""
    mark = folder / "formatted"
    if mark.exists():
        return
    shutil.rmtree(folder / "log", ignore_errors=True)
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # With "=", for one id in 64 begins with "-", which would be taken for an option.
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties)]
    result = _output([*_run(java, jars), *tool])
    if result.returncode:
        reason = (result.stdout + result.stderr).strip().replace("\n", " ")
        raise LocalError(f"Kafka could not lay out its storage in {folder}: {reason}")
    mark.write_text(f"{cluster}\n")
