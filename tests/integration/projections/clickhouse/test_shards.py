"""Two shards under distributed tables answer as one server does, over the API and the CLI."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from types import MappingProxyType

import pytest

from processor.policy.config import Policies, Policy
from processor.policy.policy_table import write_policies
from projections.clickhouse.sql import stream
from projections.queries import message_outcomes
from projections.tables import views
from tests import clickhouse
from tests.api import START, api_with_data
from tests.paths import ROOT

DATABASE = "shards"
NOON = (START + timedelta(hours=30)).isoformat()
#: What an SMS has instead of a status of an email.
SMS_STATUSES = {"Bounce": "Failed", "Delivery": "Delivered", "Sent": "Sent"}
LISTINGS = [
    {}, {"status": "Bounce"}, {"status": "Delivery"}, {"status": "Sent"},
    {"filter": "status!=Sent"}, {"q": "invoice"}, {"q": "inVOICE", "status": "Delivery"},
    {"q": "@d2."}, {"q": "nobody"},
    {"q": "עברית"}, {"q": "mailbox does not exist"}, {"recipient": "p3@d0.example"},
    {"record_type": "family", "record_id": "3"}, {"filter": "record_id=3"},
    {"filter": ["date>=2026-11-01T12:00", "date<2026-11-02T13:30"]}, {"filter": "conflict=true"},
    {"as_of": NOON}, {"as_of": NOON, "clock": "recorded", "status": "Sent"},
]  # fmt: skip
ORDERS = [
    {"sort": sort, "order": order}
    for sort in ("date", "recipient", "status") for order in ("asc", "desc")
]  # fmt: skip
POLICY_FILE = "policy.toml"
EXAMPLES = {path.stem: path.read_text() for path in (ROOT / "deploy/clickhouse/examples").glob("*")}
PERIOD = {"since": "2026-10-20T00:00:00Z", "until": "2026-11-20T00:00:00Z"}
COMMANDS = [
    ("log", "email"), ("log", "sms"), ("log", "email", "--status", "Bounce", "--format", "csv"),
    ("log", "email", "--where", "subject~invoice"), ("log", "email", "--as-of", NOON),
    ("suppressions", "list"), ("retries", "list"),
    ("suppressions", "history", "p1@d1.example", "--channel", "email"),
    ("policy", "simulate", POLICY_FILE), ("policy", "simulate", POLICY_FILE, "--format", "json"),
]  # fmt: skip


@pytest.fixture(scope="module")
def apis(engine, shards):
    """Give the API over one server and over two shards, with the same data."""
    return (
        api_with_data(engine.url, DATABASE, outcome_seconds=0),
        api_with_data(shards.url, DATABASE, shards=shards, outcome_seconds=0),
    )


def pages(api, path, tenant=MappingProxyType({"tenant": "a"}), **parameters):
    """Return the answers of a walk through all pages, without the cursors."""
    answers, cursor = [], None
    with api.client("operator") as client:
        while True:
            more = {"cursor": cursor} if cursor else {}
            answer = client.get(f"/api/v1{path}", params={**tenant, **parameters, **more})
            assert answer.status_code == 200, (path, parameters, answer.text)
            body = answer.json()
            cursor = body.pop("next", None)
            answers.append(body)
            if cursor is None:
                return answers


def test_the_data_are_on_both_shards(apis, shards):
    counts = [
        node.connect().command(f"SELECT count() FROM {DATABASE}.{table}_local")
        for node in shards.nodes for table in ("events", "email_log_state", "sms_log_state")
    ]  # fmt: skip
    assert all(count > 0 for count in counts), counts


@pytest.mark.parametrize("channel", ["email", "sms"])
@pytest.mark.parametrize("listing", LISTINGS, ids=str)
def test_every_listing_is_the_same(apis, channel, listing):
    number = LISTINGS.index(listing)  # every order with some listings, two with each
    if channel == "sms" and "status" in listing:
        listing = listing | {"status": SMS_STATUSES[listing["status"]]}
    for order in (ORDERS[number % 6], ORDERS[(number + 3) % 6]):
        one, two = (
            pages(api, f"/logs/{channel}", limit=25, **listing, **order) for api in apis
        )  # fmt: skip
        assert two == one, order
    assert set(listing) & {"status", "q", "filter", "recipient"} or one[0]["rows"]


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_counts_and_what_is_stuck_are_the_same(apis, channel):
    for by in ("day", "provider", "domain"):
        one, two = (pages(api, f"/statistics/{channel}", by=by, **PERIOD) for api in apis)
        assert two == one
        assert one[0]["counts"]
    one, two = (pages(api, f"/statistics/{channel}/stuck", hours=0) for api in apis)
    assert two == one


def test_messages_addresses_and_the_blacklist_are_the_same(apis):
    rows = [row for page in pages(apis[0], "/logs/email") for row in page["rows"]]
    assert len({row["recipient"] for row in rows}) > 5
    for row in rows[:12]:
        key = {"message_id": row["message_id"], "recipient": row["recipient"]}
        one, two = (pages(api, "/messages/email", **key) for api in apis)
        assert two == one
        one, two = (pages(api, f"/recipients/{row['recipient']}", limit=5) for api in apis)
        assert two == one
    for path, tenant in (("/suppressions", {"tenant": "a"}), ("/dead-letters", {})):
        one, two = (pages(api, path, tenant) for api in apis)
        strip = {"since", "died_at", "recorded_at"}
        assert [
            [{k: v for k, v in row.items() if k not in strip} for row in page["rows"]]
            for page in two
        ] == [
            [{k: v for k, v in row.items() if k not in strip} for row in page["rows"]]
            for page in one
        ]
        assert one[0]["rows"]
    for form in ("csv", "ndjson"):
        texts = []
        for api in apis:
            with api.client("operator") as client:
                answer = client.get(f"/api/v1/logs/email/export?tenant=a&format={form}")
                assert answer.status_code == 200, answer.text
                texts.append(answer.text)
        assert texts[0] == texts[1]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_prints_the_same(apis, command, tmp_path):
    (tmp_path / POLICY_FILE).write_text("[tenant.a]\nretries = 1\nblacklists = []\n")
    printed = []
    for api in apis:
        environment = {
            **os.environ, **clickhouse.environment(api.url), "COLUMNS": "200",
            "SENDLOG_CLICKHOUSE__DATABASE": DATABASE,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "processor", *command, "--tenant", "a"],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    if command[:2] != ("suppressions", "history") and command[:2] != ("suppressions", "list"):
        assert printed[0] == printed[1]  # of the others the times are those of each fixture
    assert len(printed[0].splitlines()) == len(printed[1].splitlines())


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_for_analysts_says_the_same(apis, name):
    one, two = (
        sorted(
            map(str, stream(api.connect(), EXAMPLES[name], {"tenant": "a", "since": START}))
        )
        for api in apis
    )  # fmt: skip
    assert two == one


def test_every_view_says_the_same(apis):
    policies = Policies(Policy(retries=2), {"a": Policy(retries=1)})
    for api in apis:
        assert write_policies(api.connect, DATABASE, policies)
    # Of each fixture: its times, and random ids.
    apart = {"since", "until", "cause_event_id"}
    for view in views():
        one, two = (
            sorted(
                str({name: value for name, value in row.items() if name not in apart})
                for row in stream(api.connect(), f"SELECT * FROM {DATABASE}.{view}", {})
            )
            for api in apis
        )
        assert two == one, view
    assert one


def test_questions_with_long_lists_reach_every_shard(apis):
    """Longer than a server takes as a bound value: they travel as tables."""
    keys = [("a", f"nobody-{number}@{'x' * 100}.example", f"m{number}") for number in range(5_000)]
    found = []
    for api in apis:
        client = api.connect()
        sql = (
            f"SELECT tenant_id, recipient, message_id FROM {DATABASE}.email_log WHERE tenant_id='a'"
        )
        real = [tuple(row.values()) for row in stream(client, sql, {})]
        found.append(message_outcomes.outcomes(client, DATABASE, [*keys, *real]))
        assert set(found[-1]) == set(real)
        addresses = [key[:2] for key in [*keys, *real]]
        assert message_outcomes.last_successes(client, DATABASE, addresses)
    assert found[0] == found[1]
