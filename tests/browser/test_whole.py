"""A blacklisted address is reset in a browser: real Kafka, a real worker, `sendlog api`."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest

from deploy.local.addresses import free_port
from deploy.local.process import Program, Server
from processor.demo.render import DemoRecord
from tests.system import running

BOB = "bob@example.com"


def fact(kind, message_id, **fields):
    at = datetime.now(UTC)
    value = {"channel": "email", "kind": kind, "tenant_id": "acme", "message_id": message_id,
             "recipient": BOB, "occurred_at": at.isoformat(), **fields}  # fmt: skip
    return DemoRecord(
        "email.sends", None, json.dumps(value).encode(), (), int(at.timestamp() * 1000)
    )


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("whole")) as system:
        system.worker()
        yield system


@pytest.fixture(scope="module")
def address(system):
    """Run `sendlog api` and give its address."""
    address = f"http://127.0.0.1:{free_port()}"

    def answers():
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=10) as reply:
                return reply.status == 200
        except (OSError, urllib.error.HTTPError):
            return False

    program = Program(
        name="api", command=[sys.executable, "-m", "processor", "api"], ready=answers,
        environment={**system.environment, "SENDLOG_API__PORT": address.rpartition(":")[2],
                     "SENDLOG_API__SESSION_SECRET": "s" * 32},
    )  # fmt: skip
    api = Server(program, system.folder / "api.log")
    with api:
        yield address
    assert "api_stopped" in api.log.read_text()
    assert "sssss" not in api.log.read_text()


def test_a_blacklisted_address_is_reset_and_its_history_says_by_whom_and_why(
    system, address, readers
):
    key = system.command("keys", "create", "help desk", "--tenant", "acme", "--scope", "read",
                         "--scope", "reset").strip()  # fmt: skip
    reader = readers(address=address)
    page = reader.sign_in(key, "/logs/email?status=Bounce")
    assert "No email yet." in page.locator("main").inner_text()

    system.publish([
        fact("sent", "m1", subject="Invoice 7", record_type="family", record_id="F-7",
             record_name="The Browns", record_url="https://app.example.com/families/7"),
        fact("bounce", "m1", bounce_class="hard", smtp_code=550, enhanced_status="5.1.1"),
    ])  # fmt: skip
    page.get_by_role("link", name="1 newer: show").click()
    page.get_by_role("link", name="Bounce", exact=True).click()
    page.get_by_role("heading", name="Why Bounce").wait_for()
    assert "This email address does not exist." in page.locator("main").inner_text()
    system.wait_until_committed()

    page.get_by_role("link", name=BOB).first.click()
    page.get_by_role("link", name="Why, and reset").click()
    facts = page.locator("dl.facts")
    facts.wait_for()
    assert "hard bounce" in facts.inner_text()
    assert facts.get_by_role("link", name="m1").count() == 1
    page.get_by_label("Reason").fill("she has a new mailbox")
    page.get_by_role("button", name="Reset").click()
    page.get_by_text("Done: reset").wait_for(timeout=60_000)
    assert "Not blacklisted for email." in page.locator("main").inner_text()
    newest = page.locator("tbody tr").first.inner_text()
    for text in ("Reset", "hard bounce", "help desk", "she has a new mailbox"):
        assert text in newest
    assert page.locator("tbody tr").count() == 2
    entries = system.command("suppressions", "list", "--tenant", "acme", "--format", "json")
    assert BOB not in entries

    reader.open("/records/family/F-7")
    assert page.get_by_role("heading", level=1).inner_text() == "The Browns family F-7"
    link = page.get_by_role("link", name="Open in the application")
    assert link.get_attribute("href") == "https://app.example.com/families/7"


def test_a_key_is_kept_in_a_file_for_its_owner_alone_and_made_anew_only_when_it_is_needed(system):
    file = system.folder / "key"

    def make():
        arguments = ("keys", "create", "kept", "--tenant", "acme", "--file", str(file))
        assert system.command(*arguments) == ""
        return file.read_text()

    first = make()
    assert first.startswith("sk_")
    assert file.stat().st_mode & 0o777 == 0o600
    assert make() == first
    file.write_text("sk_lost")
    second = make()
    assert second not in {first, "sk_lost"}
    keys = map(json.loads, system.command("keys", "list", "--format", "json").splitlines())
    assert [key["revoked_at"] is None for key in keys if key["name"] == "kept"] == [True, False]
