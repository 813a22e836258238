"""The local stack: real broker and database, with stand-ins for Sendlog's own commands."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from typer.testing import CliRunner

from deploy.local import broker
from deploy.local.addresses import free_port
from deploy.local.console import Console
from deploy.local.parts import environment
from deploy.local.process import Program
from deploy.local.supervisor import PartError, Supervisor
from processor.cli.main import app
from processor.connection_settings import ClickHouseSettings
from processor.settings import LOCAL_USER, IntakeSettings, KafkaSettings, Settings
from tests.conftest import connected
from tests.paths import ROOT

# Stands for `python -m processor`: it does what the stack has to wait for, and nothing else.
PROCESSOR = """
import os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
from kafka import KafkaAdminClient, KafkaConsumer
from kafka.admin import NewTopic
from processor.kafka.topics import declared_topics
from processor.settings import KafkaSettings

bootstrap = os.environ["SENDLOG_KAFKA__BOOTSTRAP"]

def serve(port):
    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()
    HTTPServer(("127.0.0.1", port), Healthy).serve_forever()

match sys.argv[1:]:
    case ["topics", "apply"]:
        assert os.environ["SENDLOG_KAFKA__REPLICATION"] == "1"
        assert len(os.environ["SENDLOG_KAFKA__COMMAND_SECRET"]) >= 32
        with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
            declared = {topic.name for topic in declared_topics(KafkaSettings())}
            for name in declared - set(admin.list_topics()):
                admin.create_topics([NewTopic(name, 1, 1)])
    case ["migrate"]:
        sys.exit(int(os.environ.get("TEST_MIGRATE", "0")))
    case ["keys", "create", *_, "--file", file]:
        with open(file, "w") as opened:
            opened.write("sk_of_the_stack")
    case ["api"]:
        serve(int(os.environ["SENDLOG_API__PORT"]))
    case ["worker"]:
        print("a worker begins")
        consumer = KafkaConsumer("email.sends", bootstrap_servers=bootstrap, group_id="sendlog")
        while True:
            consumer.poll(timeout_ms=100)
            if os.path.exists(os.environ["SENDLOG_DATA_DIR"] + "/die"):
                print("a worker dies")
                os._exit(7)
    case ["demo", *options]:
        print("demo with", *options)
"""

# What `sendlog up` does, with the stand-in.
UP = """
import json, sys
from deploy.local import stack
from processor import settings
options = json.loads(sys.argv[1])
sys.exit(stack.up(settings.load(), processor=[sys.executable, sys.argv[2]], **options))
"""
CHECK = """
import sys
from deploy.local import stack
from processor import settings
sys.exit(stack.check(settings.load()))
"""


class Stack:
    """A stack's supervisor, run in a process of its own as a person would."""

    def __init__(self, folder):
        self.data = folder / "data"
        self.script = folder / "standin.py"
        self.script.write_text(PROCESSOR)
        self.bootstrap = f"127.0.0.1:{free_port()}"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.port = free_port()
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SENDLOG_KAFKA__BOOTSTRAP": self.bootstrap,
            "SENDLOG_CLICKHOUSE__URL": self.url,
            "SENDLOG_API__PORT": str(self.port),
            "SENDLOG_DATA_DIR": str(self.data),
        }
        self.process = None

    def connected(self):
        password = (self.data / "passwords" / LOCAL_USER).read_text()
        return connected(self.url, username=LOCAL_USER, password=password)

    def command(self, **options):
        return [sys.executable, "-c", UP, json.dumps(options), str(self.script)]

    def start(self, **options):
        """Start it and return once it says that it is ready."""
        self.log = (self.data.parent / "log").open("wb")
        self.process = subprocess.Popen(
            self.command(**options), env=self.environment, stdout=subprocess.PIPE, stderr=self.log
        )
        assert self.process.stdout.readline() == b"ready\n", self.output()

    def output(self):
        return (self.data.parent / "log").read_text()

    def run(self, *, path=None, **options):
        """Run one that is not to come up; return exit code and what it says."""
        change = {} if path is None else {"PATH": str(path), "XDG_CACHE_HOME": str(path)}
        given = {k: v for k, v in self.environment.items() if not (change and k == "JAVA_HOME")}
        ended = subprocess.run(
            self.command(**options),
            env=given | change, capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip
        assert "Traceback" not in ended.stderr, ended.stderr
        assert ended.stdout == ""
        return ended.returncode, ended.stderr

    def check(self):
        return subprocess.run(
            [sys.executable, "-c", CHECK],
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(90)

    def processes(self):
        """Every process that has this stack's data folder in its environment."""
        mark = f"SENDLOG_DATA_DIR={self.data}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


@pytest.fixture
def stack(tmp_path):
    stack = Stack(tmp_path)
    yield stack
    if stack.process is not None and stack.process.poll() is None:
        stack.end(signal.SIGTERM)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def test_it_comes_up_serves_passes_the_check_and_stops_on_term(stack):
    assert stack.check().returncode == 1
    stack.start(workers=2, demo=["--rate", "5"])
    checked = stack.check()
    assert checked.returncode == 0, checked.stderr
    with stack.connected() as client:
        assert client.command("SELECT 1") == 1
    output = stack.output()
    assert "worker-2   | a worker begins" in output
    assert "\x1b" not in output  # no colours in a file
    for shown in (
        stack.bootstrap,
        stack.url,
        str(stack.data),
        "sendlog log email --tenant demo",
        f"http://127.0.0.1:{stack.port}/overview/email?tenant=demo",
        "sk_of_the_stack",
    ):
        assert shown in output
    for part in ("mailer     | done", "demo       | done"):  # their end is no failure
        wait_for(lambda part=part: part in stack.output())
    assert "demo       | demo with --rate 5" in stack.output()
    assert stack.end(signal.SIGTERM) == 0
    assert stack.processes() == []
    stopped = [line.split()[0] for line in stack.output().splitlines() if line.endswith("stopping")]
    assert stopped == ["worker-2", "worker-1", "api", "clickhouse", "kafka"]
    missing = stack.check()
    assert missing.returncode == 1
    assert stack.bootstrap in missing.stderr
    assert stack.url in missing.stderr
    assert f"the API does not answer at http://127.0.0.1:{stack.port}" in missing.stderr


def test_a_killed_supervisor_leaves_no_orphan_and_the_next_goes_on_with_the_data(stack):
    stack.start(workers=1)
    with stack.connected() as client:
        client.command("CREATE DATABASE IF NOT EXISTS sendlog ENGINE = Atomic")
        client.command("CREATE TABLE sendlog.t (a UInt8) ENGINE = MergeTree ORDER BY a")
        client.command("INSERT INTO sendlog.t VALUES (42)")
    producer = KafkaProducer(bootstrap_servers=stack.bootstrap, acks="all")
    producer.send("sms.sends", b"kept").get(30)
    producer.close()
    assert len(stack.processes()) == 5  # supervisor, broker, database, API, worker
    stack.end(signal.SIGKILL)
    wait_for(lambda: stack.processes() == [])
    stack.start(workers=1)
    with stack.connected() as client:
        assert client.command("SELECT a FROM sendlog.t") == 42
    consumer = KafkaConsumer(bootstrap_servers=stack.bootstrap, auto_offset_reset="earliest")
    partition = TopicPartition("sms.sends", 0)
    consumer.assign([partition])
    (records,) = consumer.poll(timeout_ms=30_000).values()
    consumer.close()
    assert [record.value for record in records] == [b"kept"]

    code, text = Stack.run(second_on(stack))
    assert code == 2, text
    assert "a stack runs already on the data folder" in text
    assert str(stack.process.pid) in text

    (stack.data / "die").touch()
    assert stack.process.wait(90) == 1
    assert "a worker dies" in stack.output()
    assert "worker ended with exit code 7; everything has been stopped" in stack.output()
    assert stack.processes() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_stops_what_is_there(stack, number):
    log = stack.data.parent / "log"
    with log.open("wb") as output:
        stack.process = subprocess.Popen(
            stack.command(workers=1), env=stack.environment, stdout=output, stderr=output
        )
    wait_for(lambda: "clickhouse | starting" in stack.output())
    assert stack.end(number) == 0
    assert "Traceback" not in stack.output()
    assert stack.processes() == []


def second_on(stack):
    """A stack on other ports with the same data folder."""
    second = Stack(stack.data.parent)
    assert second.bootstrap != stack.bootstrap
    return second


def test_a_step_that_fails_is_named_and_stops_everything(stack):
    stack.environment["TEST_MIGRATE"] = "3"
    code, text = stack.run(workers=0)
    assert code == 1, text
    assert "sendlog up: migrate failed with exit code 3" in text
    assert stack.processes() == []


@pytest.mark.parametrize(
    ("server", "written"),
    [
        ("SENDLOG_KAFKA__BOOTSTRAP", "127.0.0.1:{}"),
        ("SENDLOG_CLICKHOUSE__URL", "http://127.0.0.1:{}"), ("SENDLOG_API__PORT", "{}"),
    ],
)  # fmt: skip
def test_a_port_in_use_is_refused(stack, server, written):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        stack.environment[server] = written.format(other.getsockname()[1])
        refused(stack, f"{address} ({server}) is in use by another program: stop that, or set")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("SENDLOG_CLICKHOUSE__URL", "https://127.0.0.1:8443", "plain HTTP"),
        ("SENDLOG_CLICKHOUSE__URL", "http://192.0.2.1:8123", "not an address of this machine"),
        ("SENDLOG_KAFKA__BOOTSTRAP", "192.0.2.1:9092", "not an address of this machine"),
        ("SENDLOG_KAFKA__BOOTSTRAP", "127.0.0.1:1,127.0.0.1:2", "runs one broker"),
        ("SENDLOG_KAFKA__PROTOCOL", "SSL", "takes PLAINTEXT only"),
    ],
)
def test_an_address_that_cannot_be_served_here_is_refused(stack, variable, value, says):
    stack.environment[variable] = value
    text = refused(stack, says)
    assert variable in text


def test_missing_java_is_one_clear_line(stack, tmp_path):
    (tmp_path / "bin").mkdir()
    refused(stack, "java was not found: install a Java runtime 17", path=tmp_path / "bin")


def test_an_old_java_is_one_clear_line(stack, tmp_path):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n")
    java.chmod(0o755)
    refused(stack, "is Java 8: install a Java runtime 17", path=java.parent)


def test_missing_maven_is_one_clear_line(stack, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(shutil.which("java"))
    refused(stack, "mvn was not found: install Apache Maven", path=tmp_path / "bin")


def test_a_cluster_id_that_begins_like_an_option_is_taken(monkeypatch, tmp_path):
    monkeypatch.setattr("deploy.local.broker.uuid.uuid4", lambda: uuid.UUID(bytes=b"\xfb" * 16))
    broker.program(f"127.0.0.1:{free_port()}", tmp_path)
    assert (tmp_path / "kafka" / "formatted").read_text().startswith("-")


def test_a_data_folder_that_is_none_is_refused(stack):
    stack.data.write_text("")
    refused(stack, f"the data folder {stack.data} cannot be used (file exists)")


def test_a_broken_database_is_named(stack):
    metadata = stack.data / "clickhouse" / "metadata"
    metadata.mkdir(parents=True)
    (metadata / "sendlog.sql").write_text("this is no statement")
    code, text = stack.run(workers=0)
    assert code == 1, text
    assert "clickhouse: the data folder" in text
    assert "sendlog up: clickhouse ended with exit code 1" in text
    assert stack.processes() == []


def test_a_password_needs_a_user(stack):
    stack.environment["SENDLOG_CLICKHOUSE__PASSWORD"] = "a secret"
    assert "a secret" not in refused(stack, "set both or none")


def refused(stack, says, **options):
    code, text = stack.run(**options)
    assert code == 2, text
    assert text.startswith("sendlog up: ")
    assert text.count("\n") == 1, text
    assert says in text
    return text


def test_a_missing_extra_is_one_clear_line(monkeypatch):
    monkeypatch.setattr("deploy.local.cli.find_spec", lambda name: None if name == "chdb" else name)
    result = CliRunner().invoke(app, ["up"])
    assert result.exit_code == 2
    assert result.stderr.startswith("sendlog up: chdb is not installed")


def supervise(*programs):
    """Run programs until one fails; return the error and the lines that were written."""
    stream = io.StringIO()
    console = Console(stream, [program.name for program in programs])
    with pytest.raises(PartError) as raised:
        asyncio.run(Supervisor(console).run(programs, lambda: console.plain("all ready")))
    return str(raised.value), stream.getvalue().splitlines()


def python(name, code, **options):
    return Program(name=name, command=[sys.executable, "-c", code], **options)


def test_parts_start_in_order_and_stop_in_reverse(tmp_path):
    there, last = tmp_path / "there", tmp_path / "last"
    wait = "import time; time.sleep(300)"
    makes = python("makes", f"open({str(there)!r}, 'w'); {wait}", ready=there.exists)
    needs = python("needs", f"open({str(there)!r}); print('found'); {wait}", ready=lambda: True)
    code = (
        "import os, time; print('now')\n"
        f"while not os.path.exists({str(last)!r}): time.sleep(0.01)\n"
        "os._exit(5)"
    )
    dies = python("dies", code, ready=lambda: last.touch() or True)
    error, lines = supervise(makes, needs, dies)
    assert error == "dies ended with exit code 5"
    wanted = ["makes | starting", "makes | ready", "needs | starting", "needs | stopping"]
    assert [line for line in lines if line in wanted] == wanted
    assert lines.index("needs | stopping") < lines.index("makes | stopping")
    assert "dies  | now" in lines


def test_a_part_that_dies_while_another_starts_ends_the_start():
    dies = python("dies", "import os, time; time.sleep(0.5); os.abort()", ready=lambda: True)
    never = python("never", "import time; time.sleep(300)", ready=lambda: False)
    error, _ = supervise(dies, never)
    assert error == "dies ended by signal SIGABRT (exit code 134)"


def test_a_part_that_does_not_become_ready_is_named():
    slow = python("slow", "import time; time.sleep(300)", ready=lambda: False, patience=1)
    error, _ = supervise(slow)
    assert error.startswith("slow is not ready after 1 s")


def test_a_part_that_does_not_stop_is_killed_with_what_it_started(tmp_path):
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(300)"
    mark = tmp_path / "pid"
    code = (
        "import signal, subprocess, sys, time; signal.signal(15, signal.SIG_IGN);"
        f" p = subprocess.Popen([sys.executable, '-c', {child!r}]);"
        f" open({str(mark)!r}, 'w').write(str(p.pid)); time.sleep(300)"
    )
    stubborn = python("stubborn", code, ready=lambda: mark.exists() and mark.read_text(), grace=1)
    dies = python("dies", "", ready=lambda: True)
    error, lines = supervise(stubborn, dies)
    assert error == "dies ended with exit code 0"
    assert "stubborn | does not stop: killed" in lines
    wait_for(lambda: not Path(f"/proc/{mark.read_text()}/cmdline").exists())


def test_a_command_that_is_not_there_is_named():
    error, lines = supervise(Program(name="part", command=["no-such-command"]))
    assert error.startswith("part failed with exit code 1")
    assert "part | no-such-command cannot be started: No such file or directory" in lines


def test_lines_of_any_length_and_bytes_are_written():
    stream = io.StringIO()
    console = Console(stream, ["a", "long"])

    async def copied(data):
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        await console.copy("a", reader)

    asyncio.run(copied(b"one\r\n\xff\n\n" + b"x" * 200_000 + b"\nlast"))
    lines = stream.getvalue().splitlines()
    assert lines[:3] == ["a    | one", "a    | \ufffd", "a    | "]
    assert sum(line.count("x") for line in lines) == 200_000
    assert lines[-1] == "a    | last"


def test_colours_are_for_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def written():
        stream = Terminal()
        Console(stream, ["a"]).line("a", "text")
        return stream.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert written() == "\x1b[36ma |\x1b[0m text\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert written() == "a | text\n"


def test_settings_survive_the_way_through_the_environment(monkeypatch, tmp_path):
    given = Settings(
        kafka=KafkaSettings(bootstrap="[::1]:9", partitions=7),
        clickhouse=ClickHouseSettings(password="p'ä", timeout=1.5),
        intake=IntakeSettings(feeds={"ses": "ü"}),
        data_dir=tmp_path,
        metrics_port=9000,
    )
    for name, value in environment(given).items():
        monkeypatch.setenv(name, value)
    assert Settings() == given
