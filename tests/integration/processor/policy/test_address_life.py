"""What becomes of bounces, complaints, opt-outs and resets: topics, tables, rows and reasons."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from processor.kafka.producer import sync_producer
from tests.system import DATABASE, running, wait_for

POLICY = '[default]\nretries = 2\nschedule = ["1s"]\nsoft_threshold = 2\n'


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("policy")) as system:
        system.write_policy(POLICY)
        system.worker()
        yield system


class LiveAddress:
    """An address that no other test has: publishes about it, and reads what became of it."""

    def __init__(self, system, channel="email"):
        self.system, self.channel = system, channel
        number = uuid.uuid4().int
        self.address = (
            f"a{number}@example.com" if channel == "email" else f"+1201{number % 10**7:07}"
        )

    def event_value(self, kind, message="m1", **more):
        fields = {
            "channel": self.channel, "kind": kind, "tenant_id": "acme",
            "message_id": self.message_id(message), "recipient": self.address,
            "occurred_at": datetime.now(UTC).isoformat(), **more,
        }  # fmt: skip
        return json.dumps(fields).encode()

    def message_id(self, message):
        return f"{self.address} {message}"

    def publish(self, kind, message="m1", copies=1, **more):
        value = self.event_value(kind, message, **more)
        with sync_producer(self.system.kafka) as send:
            for _ in range(copies):
                send("email.sends" if self.channel == "email" else "sms.sends", value)

    def publish_bounce(self, bounce_class="soft", message="m1", **more):
        codes = {"soft": (452, "4.2.2"), "hard": (550, "5.1.1"), "block": (554, "5.7.1")}
        smtp, enhanced = codes[bounce_class]
        self.publish(
            "bounce", message, bounce_class=bounce_class, smtp_code=smtp,
            enhanced_status=enhanced, **more,
        )  # fmt: skip

    def publish_command(self, command, **more):
        command_id = uuid.uuid4().hex
        fields = {
            "id": command_id, "command": command, "tenant_id": "acme", "channel": self.channel,
            "address": self.address, "actor": "Kim", "reason": "asked by phone", **more,
        }  # fmt: skip
        with sync_producer(self.system.kafka) as send:
            send("delivery.commands", json.dumps(fields).encode())
        return command_id

    def row(self, message="m1"):
        log = f"{self.channel}_log"
        rows = self.system.rows(
            f"SELECT * FROM {DATABASE}.{log} WHERE recipient = {{a:String}} "
            "AND message_id = {m:String}", a=self.address, m=self.message_id(message),
        )  # fmt: skip
        return rows[0] if rows else None

    def wait_for_status(self, status, message="m1"):
        """Wait for a row's status; return its reason."""
        wait_for(
            lambda: (row := self.row(message)) and row["status"] == status,
            f"{message} to be {status}", 60,
        )  # fmt: skip
        return self.row(message)["status_reason"]

    def retries(self):
        return self.system.rows(
            f"SELECT attempt, state FROM {DATABASE}.retries WHERE recipient = {{a:String}} "
            "ORDER BY attempt", a=self.address,
        )  # fmt: skip

    def wait_for_retry(self, *, attempt):
        """Wait for a retry to be requested; return it as mailers read it."""
        requests = wait_for(
            lambda: self.retry_requests(attempt), f"attempt {attempt} to be requested", 60
        )
        return requests[0]

    def retry_requests(self, attempt):
        records = self.system.read("delivery.retries")
        retries = [json.loads(record.value) for record in records]
        return [r for r in retries if (r["recipient"], r["attempt"]) == (self.address, attempt)]

    def wait_for_rules(self, *rules):
        """Wait until exactly these rules suppress the address; return its entry."""
        wait_for(lambda: self._rules() == list(rules), f"rules {rules}, not {self._rules()}", 60)
        entries = self._entries()
        return entries[0] if entries else None

    def _entries(self):
        return self.system.rows(
            f"SELECT * FROM {DATABASE}.suppressions WHERE address = {{a:String}}", a=self.address
        )

    def _rules(self):
        return [rule for entry in self._entries() for rule in entry["rules"]]

    def history(self):
        return [
            (row["change"], row["rule"], row["actor"])
            for row in self.system.rows(
                f"SELECT * FROM {DATABASE}.suppression_history FINAL "
                "WHERE address = {a:String} ORDER BY occurred_at, change", a=self.address,
            )
        ]  # fmt: skip

    def published_entry(self):
        """Return what mailers read last about the address; None: nothing, or a tombstone."""
        key = f"acme|{self.channel}|{self.address}".encode()
        values = [r.value for r in self.system.read("delivery.suppressions") if r.key == key]
        return json.loads(values[-1]) if values and values[-1] else None


def test_a_soft_bounce_is_retried_answered_and_delivered(system):
    jo = LiveAddress(system)
    jo.publish("sent")
    jo.publish_bounce("soft")
    retry = jo.wait_for_retry(attempt=2)
    assert retry["message_id"] == jo.message_id("m1")
    assert "mailbox full" in retry["reason"]
    assert "soft bounce of attempt 1" in jo.wait_for_status("Sent")
    jo.publish("sent", attempt=2)
    jo.publish("delivery", attempt=2)
    jo.wait_for_status("Delivery")
    wait_for(lambda: jo.retries() == [{"attempt": 2, "state": "answered"}], "the answer", 60)
    assert jo.row()["attempts"] == 2


def test_retries_that_are_used_up_make_a_bounce_and_suppress_nobody(system):
    jo = LiveAddress(system)
    jo.publish("sent")
    jo.publish_bounce("soft")
    for attempt in (2, 3):
        jo.wait_for_retry(attempt=attempt)
        jo.publish("sent", attempt=attempt)
        jo.publish_bounce("soft", attempt=attempt)
    assert jo.wait_for_status("Bounce").startswith("soft bounces: 3 of 3 attempts used")
    assert [retry["state"] for retry in jo.retries()] == ["answered", "exhausted"]
    assert jo.row()["bounce_class"] == "soft"
    assert jo.wait_for_rules() is None


def test_a_hard_bounce_suppresses_refuses_and_is_reset_and_later_sends_arrive(system):
    jo = LiveAddress(system)
    jo.publish("sent")
    jo.publish_bounce("hard")
    assert "550 5.1.1" in jo.wait_for_status("Bounce")
    entry = jo.wait_for_rules("hard_bounce")
    assert (entry["effect"], entry["message_id"]) == ("invalid", jo.message_id("m1"))
    assert jo.published_entry()["rule"] == "hard_bounce"
    jo.publish("sent", "m2")
    assert "hard bounce on" in jo.wait_for_status("Invalid", "m2")
    jo.publish_command("reset")
    assert jo.wait_for_rules() is None
    wait_for(lambda: jo.published_entry() is None, "the tombstone", 60)
    jo.publish("sent", "m3")
    jo.publish("delivery", "m3")
    jo.wait_for_status("Delivery", "m3")
    assert (jo.row("m1")["status"], jo.row("m2")["status"]) == ("Bounce", "Invalid")
    assert jo.history() == [
        ("added", "hard_bounce", "sendlog"), ("reset", "hard_bounce", "Kim"),
    ]  # fmt: skip
    jo.publish_bounce("hard", "m3")
    jo.wait_for_rules("hard_bounce")


def test_a_complaint_suppresses_and_its_reset_has_to_be_confirmed(system):
    jo = LiveAddress(system)
    jo.publish("sent")
    jo.publish("complaint")
    jo.wait_for_rules("complaint")
    rejected = jo.publish_command("reset")
    wait_for(lambda: ("refused", "", "Kim") in jo.history(), "the refusal", 60)
    [row] = system.rows(
        f"SELECT * FROM {DATABASE}.suppression_history WHERE cause_event_id = {{c:String}}",
        c=rejected,
    )
    assert "has to be confirmed" in row["reason"]
    jo.publish_command("reset", confirmed_complaint=True)
    assert jo.wait_for_rules() is None


def test_an_opt_out_of_sms_suppresses_the_number_for_sms_only(system):
    jo = LiveAddress(system, "sms")
    jo.publish("sent")
    jo.publish("opt_out")
    jo.wait_for_rules("opt_out")
    jo.publish("sent", "m2")
    assert "opted out" in jo.wait_for_status("Failed", "m2")
    email = system.rows(
        f"SELECT * FROM {DATABASE}.suppressions WHERE address = {{a:String}} "
        "AND channel = 'email'", a=jo.address,
    )  # fmt: skip
    assert email == []


def test_after_an_unsubscribe_sends_are_skipped_until_a_new_subscription(system):
    jo = LiveAddress(system)
    jo.publish("sent")
    jo.publish("unsubscribe")
    assert jo.wait_for_rules("unsubscribe")["effect"] == "skipped"
    jo.publish("sent", "m2")
    assert "unsubscribed" in jo.wait_for_status("Skipped", "m2")
    jo.publish_bounce("hard")
    jo.wait_for_rules("unsubscribe", "hard_bounce")
    jo.publish("resubscribe")
    jo.wait_for_rules("hard_bounce")


def test_ten_copies_of_a_bounce_are_one(system):
    jo = LiveAddress(system)
    jo.publish("sent")
    jo.publish(
        "bounce", copies=10, bounce_class="soft", smtp_code=452, enhanced_status="4.2.2"
    )  # fmt: skip
    jo.wait_for_retry(attempt=2)
    system.wait_until_committed()
    assert [retry["attempt"] for retry in jo.retries()] == [2]
    assert jo.row()["soft_bounce_count"] == 1


def test_soft_bounces_in_a_row_suppress_and_a_delivery_between_does_not_let_them(system):
    now = datetime.now(UTC)
    days = [(now - timedelta(days=n)).isoformat() for n in (4, 3, 2)]
    jo, kim = LiveAddress(system), LiveAddress(system)
    for address in (jo, kim):
        address.publish_bounce("soft", "m1", occurred_at=days[0])
    kim.publish("delivery", "m2", occurred_at=days[1])
    system.wait_until_committed()
    for address in (jo, kim):
        address.publish_bounce("soft", "m3", occurred_at=days[2])
    entry = jo.wait_for_rules("soft_bounces")
    assert entry["until"] is not None
    system.wait_until_committed()
    assert kim.wait_for_rules() is None


def test_a_block_suppresses_nobody_and_a_bounce_of_one_recipient_never_touches_another(system):
    jo, kim = LiveAddress(system), LiveAddress(system)
    jo.publish_bounce("block")
    kim.publish_bounce("hard")
    kim.wait_for_rules("hard_bounce")
    system.wait_until_committed()
    assert jo.wait_for_rules() is None
    jo.publish("sent", "m2")
    jo.publish("delivery", "m2")
    jo.wait_for_status("Delivery", "m2")


def test_a_message_that_is_delivered_meanwhile_is_not_retried(system):
    jo, kim = LiveAddress(system), LiveAddress(system)
    jo.publish("sent")
    jo.publish_bounce("soft")
    jo.publish("delivery")
    kim.publish("sent")
    kim.publish_bounce("soft")
    wait_for(lambda: jo.retries() == [{"attempt": 2, "state": "cancelled"}], "the end of it", 60)
    kim.wait_for_retry(attempt=2)  # which falls due later
    assert jo.retry_requests(2) == []


def test_an_address_is_suppressed_and_reset_by_hand(system):
    jo = LiveAddress(system)
    jo.publish_command("add")
    entry = jo.wait_for_rules("by_hand")
    assert entry["actor"] == "Kim"
    jo.publish("sent")
    assert "listed by hand by Kim" in jo.wait_for_status("Invalid")
    jo.publish_command("reset")
    assert jo.wait_for_rules() is None


def test_commands_that_cannot_be_read_are_dead_letters(system):
    with sync_producer(system.kafka) as send:
        send("delivery.commands", b'{"command": "reset"}')
        send("delivery.commands", b"[1]")
        send("delivery.commands", b"no JSON")
    system.wait_until_committed()
    reasons = [
        row["reason"] for row in system.rows(
            f"SELECT reason FROM {DATABASE}.dead_letters WHERE source_topic = 'delivery.commands'"
        )
    ]  # fmt: skip
    assert len(reasons) == 3
    assert any("tenant_id" in reason for reason in reasons)


def test_a_send_that_was_read_before_its_address_was_suppressed_is_refused_all_the_same(system):
    jo = LiveAddress(system)
    before = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    bounce = jo.event_value(
        "bounce", bounce_class="hard", enhanced_status="5.1.1", occurred_at=before
    )
    with sync_producer(system.kafka) as send:
        send("email.sends", jo.event_value("sent", "m2"), key=b"same")
        send("email.sends", bounce, key=b"same")
    assert "hard bounce on" in jo.wait_for_status("Invalid", "m2")
