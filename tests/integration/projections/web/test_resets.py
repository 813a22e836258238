"""The pages of resets: who may lift what, what stays to be done, and what was typed."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from projections.queries.audit import AuditFilter, list_audit_lines
from schemas.addresses import Address, NumberRegions
from schemas.resets import ProviderRemoval
from tests.api import empty_api, token_of

PLACES = {
    "bounced@example.com": "hard_bounce", "spam@example.com": "complaint",
    "echo@example.com": "echo", "left@example.com": "unsubscribe", "+12025550105": "opt_out",
}  # fmt: skip


@pytest.fixture(scope="module")
def api(engine):
    api = empty_api(engine.url, "resets", outcome_seconds=2)
    api.add_key("a", ["a"], ["read", "reset"])
    for address, rule in PLACES.items():
        channel = "email" if "@" in address else "sms"
        api.add_history_row("a", address, "added", rule=rule, channel=channel)
    return api


@pytest.fixture
def client(api):
    api.commands.clear()
    with api.client(None) as client:
        api.sign_in(client, "a")
        yield client
    api.on_command = None


def page_of(client, address):
    channel = "email" if "@" in address else "sms"
    return client.get(f"/blacklist/{channel}", params={"address": address}).text


def post(client, address, **fields):
    channel = "email" if "@" in address else "sms"
    form = {"token": token_of(page_of(client, "x@example.com")), "do": "reset", **fields}
    return client.post(
        f"/blacklist/{channel}", params={"address": address}, data=form, follow_redirects=False
    )


def test_the_page_offers_what_staff_may_do_and_says_what_only_the_person_can(client):
    bounced, spam, echo, left, opted_out = (page_of(client, address) for address in PLACES)
    for page in (bounced, spam, echo):
        assert "<button>Reset</button>" in page
        assert "only they can" not in page
    assert 'name="confirmed"' in spam
    assert 'name="confirmed"' not in bounced
    assert "remove it there, too" in echo
    assert "delete-suppressed-destination" in echo
    assert "delete-suppressed-destination" not in bounced
    assert "subscribe again where they subscribed first" in left
    assert 'name="reason"' not in left
    assert "they send START to your number" in opted_out
    before_menu = opted_out.partition("They have sent it")[0]
    assert 'name="reason"' not in before_menu
    assert "They have sent START to our number." in opted_out


def test_after_a_reset_the_page_says_what_is_to_be_done_elsewhere_and_offers_no_listing(
    api, client
):
    api.on_command = lambda command: api.add_history_row(
        "a", command.address, "reset", rule="echo", cause_event_id=command.id
    )
    location = post(client, "echo@example.com", reason="mended").headers["location"]
    page = client.get(location).text
    assert "The provider keeps it on a list of its own: remove it there, too." in page
    assert "delete-suppressed-destination" in page
    assert "<summary>Blacklist by hand" in page.replace("\n", "")
    assert "<button>" not in page.partition('id="change"')[0].partition("<main")[2]
    api.add_history_row("a", "echo@example.com", "added", rule="echo")
    with api.client("a") as program:
        reply = program.post(
            "/api/v1/suppressions/email/echo@example.com/reset", json={"reason": "mended"}
        )
        assert reply.json()["elsewhere"] == [
            "The provider keeps it on a list of its own: remove it there, too."
        ]


def test_what_was_typed_is_there_again_when_the_reset_was_refused(api, client):
    api.on_command = lambda command: api.add_history_row(
        "a", command.address, "refused", rule="", reason="not now", cause_event_id=command.id
    )
    reply = post(client, "bounced@example.com", reason="typed with care", back="/records/f/1")
    assert reply.status_code == 409
    assert "Refused: <bdi>not now</bdi>" in reply.text
    assert 'value="typed with care"' in reply.text


def test_a_blank_reason_has_a_sentence_of_its_own(api, client):
    reply = post(client, "bounced@example.com", reason="  ")
    assert reply.status_code == 422
    assert "Say why; whoever reads the history wants to know" in reply.text
    assert api.commands == []


def test_what_was_typed_outlasts_the_session(api, client):
    client.cookies.clear()
    reply = client.post(
        "/blacklist/email?address=bounced@example.com", follow_redirects=False,
        data={"token": "old", "do": "reset", "reason": "typed & 100 % kept"},
    )  # fmt: skip
    assert reply.status_code == 303
    form = client.get(reply.headers["location"])
    [back] = parse_qs(urlsplit(reply.headers["location"]).query)["next"]
    signed_in = {"token": token_of(form.text), "key": api.keys["a"], "next": back}
    page = client.post("/sign-in", data=signed_in).text
    assert 'value="typed &amp; 100 % kept"' in page
    other = client.post(
        "/blacklist/email?address=bounced@example.com",
        data={"token": "of another session", "reason": "typed"},
    )
    assert other.status_code == 403
    assert "What you typed: <q><bdi>typed</bdi></q>" in other.text
    assert api.commands == []


@pytest.mark.parametrize(
    ("channel", "typed", "problem"),
    [
        ("email", "hello", "is not an email address: it needs a name"),
        ("sms", "12", "is not a phone number"),
        ("sms", "(202) 555-0199", "write it with + and a country code"),
    ],
)
def test_what_is_no_address_is_refused_where_it_was_typed(client, channel, typed, problem):
    reply = client.get(f"/blacklist/{channel}", params={"address": typed, "add": "true"})
    assert reply.status_code == 422
    assert problem in reply.text
    assert f'value="{typed}" aria-invalid="true"' in reply.text
    assert "bounced@example.com" in reply.text.replace("<wbr>", "")  # it is the page of the list


def test_a_number_is_listed_as_one_of_the_tenant_s_country(engine, api):
    american = empty_api(
        engine.url, "resets", outcome_seconds=0, regions=NumberRegions(by_tenant={"a": "US"})
    )
    with american.client(None) as client:
        american.keys["a"] = api.keys["a"]
        american.sign_in(client, "a")
        page = client.get("/blacklist/sms?address=(202) 555-0199&add=true").text
        assert "+12025550199" in page
        assert '<details class="menu" id="change" open>' in page
        fields = {"token": token_of(page), "do": "add", "reason": "asked"}
        client.post("/blacklist/sms?address=(202) 555-0199", data=fields)
    assert [command.address for command in american.commands] == ["+12025550199"]


class FakeLists:
    """Lists of providers of the tenant a, that answer in turn."""

    def __init__(self):
        self.asked, self.answers = [], []

    def names(self, tenant):
        return ["Mailgun", "SendGrid"] if tenant == "a" else []

    def remove(self, address):
        self.asked.append(address)
        return self.answers.pop(0)


@pytest.fixture
def lists(engine):
    lists = FakeLists()
    api = empty_api(engine.url, "provider_lists", outcome_seconds=2, provider_lists=lists)
    api.add_key("a", ["a"], ["read", "reset"])
    api.add_key("reader", ["a"])
    api.on_command = lambda command: api.add_history_row(
        "a", command.address, "reset", rule="echo", cause_event_id=command.id
    )
    lists.api = api
    return lists


REMOVED = [ProviderRemoval("Mailgun", "not_listed"), ProviderRemoval("SendGrid", "removed")]
FAILED = [ProviderRemoval("SendGrid", "failed", "it does not answer")]


def test_a_reset_takes_the_address_off_its_providers_lists_too_and_says_so(lists):
    lists.answers = [REMOVED, FAILED, REMOVED]
    with lists.api.client(None) as client:
        lists.api.sign_in(client, "a")
        for rule in ("echo", "by_hand"):
            lists.api.add_history_row("a", f"{rule}@example.com", "added", rule=rule)
        page = client.get(post(client, "echo@example.com", reason="mended").headers["location"])
        assert "It was taken off SendGrid&#39;s own list, too." in page.text
        assert "Mailgun has it on no list of its own." in page.text
        assert "remove it there, too" not in page.text
        assert lists.asked == [Address("a", "email", "echo@example.com")]
        # What failed is offered again, with a button.
        lists.api.add_history_row("a", "echo@example.com", "added", rule="echo")
        page = client.get(post(client, "echo@example.com", reason="mended").headers["location"])
        assert "It could not be taken off SendGrid&#39;s own list. Try again" in page.text
        assert "Remove it from Mailgun, SendGrid, too" in page.text
        location = client.post(
            "/blacklist/email/provider-lists", params={"address": "echo@example.com"},
            data={"token": token_of(page.text)}, follow_redirects=False,
        ).headers["location"]  # fmt: skip
        assert "It was taken off SendGrid&#39;s own list, too." in client.get(location).text
        # What a link says of providers that are none of the tenant's is not shown.
        forged = "/blacklist/email?address=echo@example.com&lists=Acme.removed,SendGrid.gone"
        assert "own list" not in client.get(forged).text.partition("<h2")[0]


def test_a_listing_that_no_provider_knows_of_is_lifted_here_alone(lists):
    lists.api.on_command = lambda command: lists.api.add_history_row(
        "a", command.address, "reset", rule="by_hand", cause_event_id=command.id
    )
    with lists.api.client(None) as client:
        lists.api.sign_in(client, "a")
        lists.api.add_history_row("a", "hand@example.com", "added", rule="by_hand")
        page = client.get(post(client, "hand@example.com", reason="mended").headers["location"])
    assert "Done:" in page.text
    assert lists.asked == []


def test_programs_learn_what_providers_said_and_may_ask_again(lists):
    lists.answers = [FAILED, REMOVED]
    lists.api.add_history_row("a", "echo@example.com", "added", rule="echo")
    path = "/api/v1/suppressions/email/echo@example.com"
    with lists.api.client("a") as client:
        first = client.post(f"{path}/reset", json={"reason": "mended"}).json()["provider_lists"]
        again = client.post(f"{path}/provider-lists").json()["provider_lists"]
    assert first == [{"provider": "SendGrid", "outcome": "failed", "detail": "it does not answer"}]
    assert [each["outcome"] for each in again] == ["not_listed", "removed"]
    with lists.api.client("reader") as client:
        assert client.post(f"{path}/provider-lists").status_code == 403
    assert len(lists.asked) == 2
    lists.api.app.state.app_state.audit_trail.flush()
    rows = list_audit_lines(
        lists.api.connect(), lists.api.database, "a", AuditFilter(object="echo@"), limit=9
    )
    by_api = [(row["action"], row["detail"]) for row in rows if row["via"] == "api"]
    assert by_api[::-1] == [
        ("reset", "mended"), ("provider_lists", "SendGrid: failed"),
        ("provider_lists", "Mailgun: not_listed, SendGrid: removed"),
    ]  # fmt: skip
