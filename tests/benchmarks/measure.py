"""What processes cost: processor time and memory of a process and its children, from /proc."""

from __future__ import annotations

import os
import platform
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.paths import ROOT

TICK = os.sysconf("SC_CLK_TCK")
PACKAGES = (
    "aiokafka", "chdb", "clickhouse-connect", "confluent-kafka", "faust-streaming", "msgspec",
    "pyarrow", "pydantic", "quixstreams", "sentry-arroyo", "uvloop",
)  # fmt: skip
#: A filesystem that slows the engine: see `filesystem`.
NO_JOURNAL = "ext4 without a journal"
POM = ROOT / "deploy/local/kafka/pom.xml"


def processor_seconds(pid):
    """Return the processor time of a process, its children, and those of them that have ended."""
    total = 0
    for process in family(pid):
        fields = _read(process, "stat").rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))  # user, system, and both of ended children
    return total / TICK


def memory(pid, what="VmRSS"):
    """Return the resident memory of a process and its children, in MB; `VmHWM` is its peak."""
    total = 0
    for process in family(pid):
        for line in _read(process, "status").splitlines():
            if line.startswith(f"{what}:"):
                total += int(line.split()[1])
    return total / 1024


def family(pid):
    """Return a process and all that descend from it."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread or a child that has ended meanwhile
            for child in (task / "children").read_text().split():
                pids += family(int(child))
    return pids


def _read(pid, name):
    return Path(f"/proc/{pid}/{name}").read_text()


def machine():
    """Return what the figures were measured on, and when."""
    total = Path("/proc/meminfo").read_text().split()[1]
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(int(total) / 1024**2, 1),
            "system": platform.platform(),
            "disk": filesystem(tempfile.gettempdir()),
            "python": platform.python_version(),
            "kafka": _kafka(),
            **{name: _version(name) for name in PACKAGES},
        },
    }


def filesystem(folder, proc=Path("/proc")):
    """Return the kind of filesystem that a folder is on, and whether it is ext4 without a journal.

    There ext4 gives out no inode anew for minutes after its file was deleted, and steps over each
    as it creates a file: an engine that writes many small parts takes half as long again.
    """
    folder = Path(folder).resolve()
    mounts = (line.split()[:3] for line in (proc / "mounts").read_text().splitlines())
    above = [each for each in mounts if folder.is_relative_to(each[1])]
    device, _, kind = max(reversed(above), key=lambda mount: len(mount[1]))
    if kind != "ext4" or list((proc / "fs/jbd2").glob(f"{Path(device).name}-*")):
        return kind
    return NO_JOURNAL


def _processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _kafka():
    """Return the version of the broker that the local stack starts."""
    space = "{http://maven.apache.org/POM/4.0.0}"
    for dependency in ET.parse(POM).iter(f"{space}dependency"):
        if dependency.findtext(f"{space}artifactId", "").startswith("kafka"):
            return dependency.findtext(f"{space}version")
    return None


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None
