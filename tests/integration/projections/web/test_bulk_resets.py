"""Many resets for one reason, over the API and as a page."""

from __future__ import annotations

import pytest

from projections.web import bulk_resets
from schemas.resets import ProviderRemoval
from tests.api import empty_api, token_of

BOUNCED, ECHO, LEFT, SPAM, FREE, OTHER, MENDED = (
    f"{name}@example.com" for name in ("bounced", "echo", "left", "spam", "free", "other", "mended")
)
RULES = {BOUNCED: "hard_bounce", ECHO: "echo", LEFT: "unsubscribe", SPAM: "complaint"}
PASTED = f"{BOUNCED}\n Echo <{ECHO}>, {LEFT};{SPAM}\t{FREE}\n\n{BOUNCED.upper()}"


@pytest.fixture(scope="module")
def api(engine):
    api = empty_api(engine.url, "bulk_resets", outcome_seconds=0)
    api.add_key("a", ["a"], ["read", "reset"])
    for address, rule in RULES.items():
        api.add_history_row("a", address, "added", rule=rule)
    api.add_history_row("a", OTHER, "added", rule="echo")
    api.add_history_row("a", MENDED, "added")
    api.add_history_row("b", FREE, "added")
    return api


@pytest.fixture(autouse=True)
def _fresh_commands(api):
    api.commands.clear()
    yield
    api.on_command = None


def lift(api, address):
    """Let commands for an address lift its entry."""

    def answer(command):
        if command.address == address:
            api.add_history_row("a", address, "reset", cause_event_id=command.id)

    api.on_command = answer


def test_a_preview_says_what_would_happen_to_each_and_changes_nothing(api):
    body = {
        "addresses": [{"channel": "email", "address": each} for each in [*RULES, FREE, BOUNCED]],
        "preview": True,
    }
    with api.client("a") as client:
        rows = client.post("/api/v1/suppressions/resets", json=body).json()["rows"]
    assert [(row["address"], row["outcome"]) for row in rows] == [
        (BOUNCED, "would_lift"), (ECHO, "would_lift"), (LEFT, "refused"), (SPAM, "refused"),
        (FREE, "not_listed"),
    ]  # fmt: skip
    assert "only a new subscription" in rows[2]["detail"]
    assert "has to be confirmed" in rows[3]["detail"]
    assert "remove it there, too" in rows[1]["elsewhere"][0]
    assert api.commands == []


def test_one_reason_resets_those_that_can_be_and_each_has_its_outcome(api):
    lift(api, MENDED)
    body = {
        "addresses": [{"channel": "email", "address": each} for each in [MENDED, *RULES, FREE]],
        "reason": "our server was down",
    }
    with api.client("a") as client:
        rows = client.post("/api/v1/suppressions/resets", json=body).json()["rows"]
        assert [row["outcome"] for row in rows] == [
            "lifted", "pending", "pending", "refused", "refused", "not_listed",
        ]  # fmt: skip
        assert [command.address for command in api.commands] == [MENDED, BOUNCED, ECHO]
        assert {(each.reason, each.actor) for each in api.commands} == {
            ("our server was down", "a")
        }
        assert rows[0]["command_id"] == api.commands[0].id
        for wrong in ({"reason": " "}, {"addresses": []}, {"addresses": body["addresses"] * 41}):
            reply = client.post("/api/v1/suppressions/resets", json=body | wrong)
            assert reply.status_code == 422
    assert len(api.commands) == 3


def test_what_kafka_did_not_take_is_said_of_each(api):
    def away(_command):
        api.kafka_answers = False

    api.on_command = away
    body = {"addresses": [{"channel": "email", "address": each} for each in (BOUNCED, ECHO)]}
    with api.client("a") as client:
        reply = client.post("/api/v1/suppressions/resets", json=body | {"reason": "x"})
        assert [row["outcome"] for row in reply.json()["rows"]] == ["pending", "not_published"]
        reply = client.post("/api/v1/suppressions/resets", json=body | {"reason": "x"})
        assert reply.status_code == 503
    api.kafka_answers = True


def test_a_pasted_list_is_shown_before_it_is_reset_by_one_click(api):
    with api.client(None) as client:
        api.sign_in(client, "a")
        page = client.get("/blacklist/resets").text
        form = {"token": token_of(page), "addresses": PASTED, "do": "preview"}
        preview = client.post("/blacklist/resets", data=form).text
        assert "2 can be reset, 2 not reset, 1 not blacklisted. Nothing has been changed yet." in (
            " ".join(preview.split())
        )
        assert "Reset 2 addresses</button>" in preview
        assert api.commands == []
        blank = client.post("/blacklist/resets", data=form | {"do": "reset", "reason": " "})
        assert blank.status_code == 422
        assert "Say why" in blank.text
        assert ECHO in blank.text
        lift(api, ECHO)
        done = client.post("/blacklist/resets", data=form | {"do": "reset", "reason": "mended"})
        assert "1 on its way; do not ask twice, 1 reset, 2 not reset, 1 not blacklisted." in (
            " ".join(done.text.split())
        )
        assert "The provider keeps it on a list of its own: remove it there, too." in done.text
        assert [command.reason for command in api.commands] == ["mended", "mended"]


def test_the_filtered_list_is_what_is_shown(api):
    with api.client(None) as client:
        api.sign_in(client, "a")
        assert "/blacklist/resets?rule=echo" in client.get("/blacklist?rule=echo").text
        page = client.get("/blacklist/resets?rule=echo").text
        assert OTHER in page
        assert BOUNCED not in page


def test_who_may_only_read_is_offered_no_bulk_reset(api):
    api.add_key("reader", ["a"])
    with api.client(None) as client:
        api.sign_in(client, "reader")
        assert "/blacklist/resets" not in client.get("/blacklist?rule=echo").text
        assert client.get("/blacklist/resets").status_code == 403


class SomeLists:
    """Lists of a provider of the tenant a."""

    def names(self, tenant):
        return ["SendGrid"] if tenant == "a" else []

    def remove(self, address):
        if address.address == ECHO:
            return [ProviderRemoval("SendGrid", "failed", "it does not answer")]
        return [ProviderRemoval("SendGrid", "removed")]


@pytest.mark.parametrize("seconds", [bulk_resets.MAX_REMOVAL_SECONDS, -1.0])
def test_each_is_taken_off_its_providers_lists_or_that_is_still_to_be_done(
    engine, monkeypatch, seconds
):
    monkeypatch.setattr(bulk_resets, "MAX_REMOVAL_SECONDS", seconds)
    name = f"lists_{seconds > 0}"
    api = empty_api(engine.url, name, outcome_seconds=2, provider_lists=SomeLists())
    api.add_key("a", ["a"], ["read", "reset"])
    for address, rule in [(BOUNCED, "hard_bounce"), (ECHO, "echo"), (OTHER, "by_hand")]:
        api.add_history_row("a", address, "added", rule=rule)
    api.on_command = lambda command: api.add_history_row(
        "a", command.address, "reset", cause_event_id=command.id
    )
    addresses = [BOUNCED, ECHO, OTHER]
    body = {"addresses": [{"channel": "email", "address": each} for each in addresses]}
    with api.client("a") as client:
        answer = client.post("/api/v1/suppressions/resets", json=body | {"reason": "mended"})
    outcomes = [
        ([each["outcome"] for each in row["provider_lists"]], bool(row["elsewhere"]))
        for row in answer.json()["rows"]
    ]
    in_time = [(["removed"], False), (["failed"], False), ([], False)]
    assert outcomes == (in_time if seconds > 0 else [([], True), ([], True), ([], False)])
    for address in addresses:
        api.add_history_row("a", address, "added", rule="echo")
    with api.client(None) as client:
        api.sign_in(client, "a")
        form = {"token": token_of(client.get("/blacklist/resets").text), "do": "reset"}
        form |= {"addresses": "\n".join(addresses), "reason": "mended"}
        page = client.post("/blacklist/resets", data=form).text
    assert ("SendGrid&#39;s own list: it does not answer" in page) is (seconds > 0)
    assert ("remove it there, too" in page) is (seconds < 0)
