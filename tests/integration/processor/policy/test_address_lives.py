"""What becomes of bounces, complaints, opt-outs and resets: topics, tables, rows and reasons."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from processor.kafka.producer import producer
from tests.system import DATABASE, running, wait_for

POLICY = '[default]\nretries = 2\nschedule = ["1s"]\nsoft_threshold = 2\n'


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("lives")) as whole:
        whole.police(POLICY)
        whole.worker()
        yield whole


class Life:
    """An address of its own, and what is published and known about it."""

    def __init__(self, system, channel="email"):
        self.system, self.channel = system, channel
        number = uuid.uuid4().int
        self.address = (
            f"a{number}@example.com" if channel == "email" else f"+1201{number % 10**7:07}"
        )

    def fact(self, kind, message="m1", **more):
        given = {
            "channel": self.channel, "kind": kind, "tenant_id": "acme",
            "message_id": self.name(message), "recipient": self.address,
            "occurred_at": datetime.now(UTC).isoformat(), **more,
        }  # fmt: skip
        return json.dumps(given).encode()

    def name(self, message):
        return f"{self.address} {message}"

    def happens(self, kind, message="m1", copies=1, **more):
        value = self.fact(kind, message, **more)
        with producer(self.system.kafka) as send:
            for _ in range(copies):
                send("email.sends" if self.channel == "email" else "sms.sends", value)

    def bounces(self, bounce_class="soft", message="m1", **more):
        codes = {"soft": (452, "4.2.2"), "hard": (550, "5.1.1"), "block": (554, "5.7.1")}
        smtp, enhanced = codes[bounce_class]
        self.happens(
            "bounce", message, bounce_class=bounce_class, smtp_code=smtp,
            enhanced_status=enhanced, **more,
        )  # fmt: skip

    def commands(self, command, **more):
        name = uuid.uuid4().hex
        given = {
            "id": name, "command": command, "tenant_id": "acme", "channel": self.channel,
            "address": self.address, "actor": "Kim", "reason": "asked by phone", **more,
        }  # fmt: skip
        with producer(self.system.kafka) as send:
            send("delivery.commands", json.dumps(given).encode())
        return name

    def row(self, message="m1"):
        log = f"{self.channel}_log"
        found = self.system.rows(
            f"SELECT * FROM {DATABASE}.{log} WHERE recipient = {{a:String}} "
            "AND message_id = {m:String}", a=self.address, m=self.name(message),
        )  # fmt: skip
        return found[0] if found else None

    def has(self, status, message="m1"):
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

    def asked(self, *, attempt):
        """Wait for a retry to be asked for; return it as mailers read it."""
        wait_for(lambda: self._asked(attempt), f"attempt {attempt} to be asked for", 60)
        return self._asked(attempt)[0]

    def _asked(self, attempt):
        found = map(json.loads, (r.value for r in self.system.read("delivery.retries")))
        return [r for r in found if (r["recipient"], r["attempt"]) == (self.address, attempt)]

    def listed(self, *rules):
        """Wait until exactly these rules list the address; return its entry."""
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
            (line["change"], line["rule"], line["actor"])
            for line in self.system.rows(
                f"SELECT * FROM {DATABASE}.suppression_history FINAL "
                "WHERE address = {a:String} ORDER BY occurred_at, change", a=self.address,
            )
        ]  # fmt: skip

    def entry(self):
        """Return what mailers read last about the address; None: nothing, or a tombstone."""
        key = f"acme|{self.channel}|{self.address}".encode()
        found = [r.value for r in self.system.read("delivery.suppressions") if r.key == key]
        return json.loads(found[-1]) if found and found[-1] else None


def test_a_soft_bounce_is_asked_for_again_answered_and_delivered(system):
    jo = Life(system)
    jo.happens("sent")
    jo.bounces("soft")
    retry = jo.asked(attempt=2)
    assert retry["message_id"] == jo.name("m1")
    assert "mailbox full" in retry["reason"]
    assert "soft bounce of attempt 1" in jo.has("Sent")
    jo.happens("sent", attempt=2)
    jo.happens("delivery", attempt=2)
    jo.has("Delivery")
    wait_for(lambda: jo.retries() == [{"attempt": 2, "state": "answered"}], "the answer", 60)
    assert jo.row()["attempts"] == 2


def test_retries_that_are_used_up_make_a_bounce_and_list_nobody(system):
    jo = Life(system)
    jo.happens("sent")
    jo.bounces("soft")
    for attempt in (2, 3):
        jo.asked(attempt=attempt)
        jo.happens("sent", attempt=attempt)
        jo.bounces("soft", attempt=attempt)
    assert jo.has("Bounce").startswith("soft bounces: 3 of 3 attempts used")
    assert [each["state"] for each in jo.retries()] == ["answered", "exhausted"]
    assert jo.row()["bounce_class"] == "soft"
    assert jo.listed() is None


def test_a_hard_bounce_lists_refuses_and_is_reset_and_later_sends_arrive(system):
    jo = Life(system)
    jo.happens("sent")
    jo.bounces("hard")
    assert "550 5.1.1" in jo.has("Bounce")
    entry = jo.listed("hard_bounce")
    assert (entry["effect"], entry["message_id"]) == ("invalid", jo.name("m1"))
    assert jo.entry()["rule"] == "hard_bounce"
    jo.happens("sent", "m2")
    assert "hard bounce on" in jo.has("Invalid", "m2")
    jo.commands("reset")
    assert jo.listed() is None
    wait_for(lambda: jo.entry() is None, "the tombstone", 60)
    jo.happens("sent", "m3")
    jo.happens("delivery", "m3")
    jo.has("Delivery", "m3")
    assert (jo.row("m1")["status"], jo.row("m2")["status"]) == ("Bounce", "Invalid")
    assert jo.history() == [
        ("added", "hard_bounce", "sendlog"), ("reset", "hard_bounce", "Kim"),
    ]  # fmt: skip
    jo.bounces("hard", "m3")
    jo.listed("hard_bounce")


def test_a_complaint_lists_and_its_reset_has_to_be_confirmed(system):
    jo = Life(system)
    jo.happens("sent")
    jo.happens("complaint")
    jo.listed("complaint")
    refused = jo.commands("reset")
    wait_for(lambda: ("refused", "", "Kim") in jo.history(), "the refusal", 60)
    [line] = system.rows(
        f"SELECT * FROM {DATABASE}.suppression_history WHERE cause_event_id = {{c:String}}",
        c=refused,
    )
    assert "has to be confirmed" in line["reason"]
    jo.commands("reset", confirmed_complaint=True)
    assert jo.listed() is None


def test_an_opt_out_of_sms_lists_the_number_for_sms_only(system):
    jo = Life(system, "sms")
    jo.happens("sent")
    jo.happens("opt_out")
    jo.listed("opt_out")
    jo.happens("sent", "m2")
    assert "opted out" in jo.has("Failed", "m2")
    email = system.rows(
        f"SELECT * FROM {DATABASE}.suppressions WHERE address = {{a:String}} "
        "AND channel = 'email'", a=jo.address,
    )  # fmt: skip
    assert email == []


def test_after_an_unsubscribe_sends_are_skipped_until_a_new_subscription(system):
    jo = Life(system)
    jo.happens("sent")
    jo.happens("unsubscribe")
    assert jo.listed("unsubscribe")["effect"] == "skipped"
    jo.happens("sent", "m2")
    assert "unsubscribed" in jo.has("Skipped", "m2")
    jo.bounces("hard")
    jo.listed("unsubscribe", "hard_bounce")
    jo.happens("resubscribe")
    jo.listed("hard_bounce")


def test_ten_copies_of_a_bounce_are_one(system):
    jo = Life(system)
    jo.happens("sent")
    jo.happens(
        "bounce", copies=10, bounce_class="soft", smtp_code=452, enhanced_status="4.2.2"
    )  # fmt: skip
    jo.asked(attempt=2)
    system.settled()
    assert [each["attempt"] for each in jo.retries()] == [2]
    assert jo.row()["soft_bounce_count"] == 1


def test_soft_bounces_in_a_row_list_and_a_delivery_between_does_not_let_them(system):
    now = datetime.now(UTC)
    days = [(now - timedelta(days=n)).isoformat() for n in (4, 3, 2)]
    jo, kim = Life(system), Life(system)
    for who in (jo, kim):
        who.bounces("soft", "m1", occurred_at=days[0])
    kim.happens("delivery", "m2", occurred_at=days[1])
    system.settled()
    for who in (jo, kim):
        who.bounces("soft", "m3", occurred_at=days[2])
    entry = jo.listed("soft_bounces")
    assert entry["until"] is not None
    system.settled()
    assert kim.listed() is None


def test_a_block_lists_nobody_and_a_bounce_of_one_recipient_never_touches_another(system):
    jo, kim = Life(system), Life(system)
    jo.bounces("block")
    kim.bounces("hard")
    kim.listed("hard_bounce")
    system.settled()
    assert jo.listed() is None
    jo.happens("sent", "m2")
    jo.happens("delivery", "m2")
    jo.has("Delivery", "m2")


def test_a_message_that_is_delivered_meanwhile_is_not_asked_for(system):
    jo = Life(system)
    jo.happens("sent")
    jo.bounces("soft")
    jo.happens("delivery")
    wait_for(lambda: jo.retries() == [{"attempt": 2, "state": "cancelled"}], "the end of it", 60)
    assert jo._asked(2) == []


def test_an_address_is_listed_and_lifted_by_hand(system):
    jo = Life(system)
    jo.commands("add")
    entry = jo.listed("by_hand")
    assert entry["actor"] == "Kim"
    jo.happens("sent")
    assert "listed by hand by Kim" in jo.has("Invalid")
    jo.commands("reset")
    assert jo.listed() is None


def test_commands_that_cannot_be_read_are_dead_letters(system):
    with producer(system.kafka) as send:
        send("delivery.commands", b'{"command": "reset"}')
        send("delivery.commands", b"[1]")
        send("delivery.commands", b"no JSON")
    system.settled()
    reasons = [
        row["reason"] for row in system.rows(
            f"SELECT reason FROM {DATABASE}.dead_letters WHERE source_topic = 'delivery.commands'"
        )
    ]  # fmt: skip
    assert len(reasons) == 3
    assert any("tenant_id" in reason for reason in reasons)


def test_a_send_that_was_read_before_its_address_was_listed_is_refused_all_the_same(system):
    jo = Life(system)
    before = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    bounce = jo.fact("bounce", bounce_class="hard", enhanced_status="5.1.1", occurred_at=before)
    with producer(system.kafka) as send:
        send("email.sends", jo.fact("sent", "m2"), key=b"same")
        send("email.sends", bounce, key=b"same")
    assert "hard bounce on" in jo.has("Invalid", "m2")
