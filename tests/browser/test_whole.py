"""A blacklisted address is reset in a browser: real Kafka, a real worker, `sendlog api`.

By who has a key, and by who signs in at an OpenID provider, which is a process of its own.
"""

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

BOB, CAROL = "bob@example.com", "carol@example.com"
ANN = {
    "sub": "ann", "name": "Ann Clark", "email": "ann@studio.example", "email_verified": True,
    "groups": ["studio helpers"],
}  # fmt: skip


def fact(kind, message_id, recipient=BOB, **fields):
    at = datetime.now(UTC)
    value = {"channel": "email", "kind": kind, "tenant_id": "acme", "message_id": message_id,
             "recipient": recipient, "occurred_at": at.isoformat(), **fields}  # fmt: skip
    return DemoRecord(
        "email.sends", None, json.dumps(value).encode(), (), int(at.timestamp() * 1000)
    )


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("whole")) as system:
        system.worker()
        yield system


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return reply.status == 200
    except (OSError, urllib.error.HTTPError):
        return False


@pytest.fixture(scope="module")
def provider(system):
    """Run an OpenID provider and give its address."""
    address = f"http://127.0.0.1:{free_port()}"
    program = Program(
        name="provider",
        command=[sys.executable, "-m", "oidc_provider_mock", "--port", address.rpartition(":")[2],
                 "--require-nonce", "true", "--user-claims", json.dumps(ANN)],
        ready=lambda: answers(f"{address}/.well-known/openid-configuration"),
    )  # fmt: skip
    with Server(program, system.folder / "provider.log"):
        yield address


@pytest.fixture(scope="module")
def address(system, provider):
    """Run `sendlog api` and give its address."""
    address = f"http://127.0.0.1:{free_port()}"
    secret = system.folder / "client-secret"
    secret.write_text("of the client\n")
    groups = {"studio helpers": {"tenant": "acme", "role": "support"}}
    program = Program(
        name="api", command=[sys.executable, "-m", "processor", "api"],
        ready=lambda: answers(f"{address}/readyz"),
        environment={**system.environment, "SENDLOG_API__PORT": address.rpartition(":")[2],
                     "SENDLOG_API__SESSION_SECRET": "s" * 32,
                     "SENDLOG_API__PUBLIC_URL": address, "SENDLOG_OIDC__ISSUER": provider,
                     "SENDLOG_OIDC__CLIENT_ID": "sendlog",
                     "SENDLOG_OIDC__CLIENT_SECRET_FILE": str(secret),
                     "SENDLOG_OIDC__BUTTON": "Sign in with Studio Login",
                     "SENDLOG_OIDC__GROUPS": json.dumps(groups)},
    )  # fmt: skip
    api = Server(program, system.folder / "api.log")
    with api:
        yield address
    assert "api_stopped" in api.log.read_text()
    for secret in ("sssss", "of the client", "ann@studio.example"):
        assert secret not in api.log.read_text()


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


def test_somebody_signs_in_at_a_provider_resets_an_address_and_signs_out(
    system, address, provider, readers
):
    system.publish([
        fact("sent", "m2", CAROL, subject="Invoice 8"),
        fact("bounce", "m2", CAROL, bounce_class="hard", smtp_code=550, enhanced_status="5.1.1"),
    ])  # fmt: skip
    system.wait_until_committed()
    reader = readers(address=address)
    reader.hosts |= {provider.removeprefix("http://"), "cdn.jsdelivr.net"}
    reader.context.route("https://cdn.jsdelivr.net/**", lambda route: route.abort())
    page = reader.page
    reader.open("/logs/email?recipient=carol@example.com")
    page.get_by_role("link", name="Sign in with Studio Login").click()
    page.get_by_role("button", name="ann", exact=True).click()
    page.wait_for_url("**/logs/email?recipient=carol@example.com")
    page.get_by_role("link", name="Bounce", exact=True).click()
    page.get_by_role("link", name=CAROL).first.click()
    assert page.get_by_text("Export").count() == 0  # whoever helps does not carry logs away
    page.get_by_role("link", name="Why, and reset").click()
    page.get_by_label("Reason").fill("her mailbox works again")
    page.get_by_role("button", name="Reset").click()
    page.get_by_text("Done: reset").wait_for(timeout=60_000)
    newest = page.locator("tbody tr").first.inner_text()
    for text in ("Reset", "Ann Clark (ann@studio.example)", "her mailbox works again"):
        assert text in newest

    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{provider}/oauth2/end_session?**")
    page.get_by_role("button", name="End session").click()
    page.wait_for_url(f"{address}/sign-in")
    seen = []
    for _ in range(12):
        page.go_back()
        seen.append(page.url)
        assert CAROL not in page.locator("body").inner_text(), seen
        if page.url == "about:blank":
            break
    assert len(seen) > 3
    reader.open("/logs/email")
    page.get_by_role("link", name="Sign in with Studio Login").wait_for()


def test_a_key_is_made_with_a_role_or_with_scopes_and_keeps_it_when_it_is_rotated(system):
    make = ("keys", "create", "front desk", "--tenant", "acme", "--role", "support")
    both = system.command(*make, "--scope", "read", check=False)
    assert "leave out --scope or --role" in both.stderr
    assert system.command(*make).startswith("sk_")
    assert system.command("keys", "rotate", "front desk").startswith("sk_")
    keys = map(json.loads, system.command("keys", "list", "--format", "json").splitlines())
    assert [(key["role"], key["scopes"]) for key in keys if key["name"] == "front desk"] == [
        ("support", []), ("support", []),
    ]  # fmt: skip


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
