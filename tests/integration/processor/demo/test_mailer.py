"""The reference mailer and its scenes, through real Kafka, a real worker and the real engine."""

from __future__ import annotations

import sys

import pytest

from deploy.local.parts import DEMO_POLICY
from deploy.local.process import Program, Server
from processor.demo.scenes import demo_scenes
from tests.system import DATABASE, running, wait_for

ENDS = {
    "scene-retried": "Delivery", "scene-exhausted": "Bounce", "scene-blacklisted": "Bounce",
    "scene-blacklisted-refused": "Invalid", "scene-blacklisted-again": "Delivery",
    "scene-resent": "Delivery",
}  # fmt: skip


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with (
        pytest.MonkeyPatch.context() as patch,
        running(tmp_path_factory.mktemp("mailer")) as system,
    ):
        patch.setenv("SENDLOG_KAFKA__COMMAND_SECRET", "scene-" * 6)
        system.worker(SENDLOG_POLICY_FILE=str(DEMO_POLICY))
        yield system


@pytest.fixture
def mailer(system):
    program = Program(
        name="mailer",
        command=[sys.executable, "-m", "processor", "mailer"],
        environment=system.environment,
    )
    server = Server(program, system.folder / "mailer.log")
    server.start()
    yield server
    server.kill()


def statuses(system):
    rows = system.rows(f"SELECT message_id, status FROM {DATABASE}.email_log")
    return {row["message_id"]: row["status"] for row in rows}


def event_counts(system):
    """Return how many distinct events there are of each kind for each message."""
    sql = f"SELECT message_id, kind, uniqExact(event_id) AS n FROM {DATABASE}.events GROUP BY ALL"
    return {(row["message_id"], row["kind"]): row["n"] for row in system.rows(sql)}


def test_every_scene_is_played_to_its_end_and_only_once(system, mailer) -> None:
    wait_for(lambda: statuses(system) == ENDS, "the ends of the scenes")
    system.wait_until_committed()
    counts = event_counts(system)
    # The first attempt and three retries; each was made once.
    assert counts["scene-exhausted", "sent"] == counts["scene-exhausted", "bounce"] == 4
    assert counts["scene-retried", "sent"] == 2
    assert counts["scene-resent", "sent"] == counts["scene-resent", "delivery"] == 2
    assert system.rows(f"SELECT * FROM {DATABASE}.suppressions") == []
    states = system.rows(f"SELECT message_id, state FROM {DATABASE}.retries")
    assert {row["state"] for row in states if row["message_id"] == "scene-retried"} == {"answered"}

    last = "the next message is sent and delivered"
    before = mailer.log.read_text().count(last)
    mailer.stop()
    mailer.start()
    wait_for(lambda: mailer.log.read_text().count(last) > before, "the mailer to catch up")
    mailer.stop()
    system.wait_until_committed()
    again = event_counts(system)
    assert {key: n for key, n in again.items() if counts.get(key) != n} == {}


def test_the_log_of_the_mailer_tells_the_scenes_and_names_no_address(system, mailer) -> None:
    wait_for(lambda: "delivered" in mailer.log.read_text(), "the scenes to be logged")
    for scene in demo_scenes("demo"):
        assert scene.name in mailer.log.read_text()
    assert "@" not in mailer.log.read_text()
