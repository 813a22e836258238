"""The other pages in a browser: messages, addresses, the blacklist, the overview, dead letters."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.api import SECRET, START
from tests.browser.conftest import Reader

P1, P2 = "p1@d1.example", "p2@d2.example"
#: Every page there is, for an operator.
PAGES = [
    "/overview/email?tenant=a", "/overview/sms?tenant=a", "/logs/email?tenant=a",
    "/logs/sms?tenant=a&q=invoice&filter=record_type%3Dfamily&as_of=2026-11-20T10%3A00",
    "/logs/email?tenant=a&recipient=none-such", "/logs/email?tenant=a&status=Bounced",
    "/logs/email?tenant=a&q=550&columns=date&columns=status&columns=diagnostic",
    "/messages/email?{bounced}&tenant=a",
    "/records/family/3?tenant=a", f"/addresses?address={P1}&tenant=a", "/blacklist?tenant=a",
    f"/blacklist/email?address={P2}&tenant=a", "/blacklist/sms?address=%2B447700900999&tenant=a",
    "/blacklist/resets?rule=complaint&tenant=a", "/blacklist/email?address=no&add=true&tenant=a",
    "/time-zone", "/help/statuses?tenant=a", "/unmatched?tenant=a&days=365", "/dead-letters",
    "/dead-letters/email.events.ses/1/7/-1",
    "/tenants", "/audit?tenant=a", "/audit?tenant=a&object=none-such&first=never", "/no-such-page",
    "/api",
]  # fmt: skip


@pytest.fixture(scope="module")
def bounced(api):
    with api.client("a") as client:
        return client.get("/api/v1/logs/email?status=Bounce&filter=smtp_code=550&limit=1").json()[
            "rows"
        ][0]


def address_of(row):
    return f"message_id={row['message_id']}&recipient={row['recipient']}"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_every_page_is_accessible_and_fits(readers, api, bounced, scheme, width):
    reader = readers(color_scheme=scheme, viewport={"width": width, "height": 900})
    reader.open("/sign-in")
    assert faults(reader) == []
    reader.sign_in(api.keys["operator"], "/dead-letters")
    for path in PAGES:
        reader.open(path.format(bounced=address_of(bounced)))
        assert faults(reader) == [], path
        for menu in reader.page.locator("details.menu > summary, .technical > summary").all():
            menu.evaluate("it => it.parentElement.open = true")
        assert faults(reader) == [], path
        assert reader.page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert reader.page.evaluate("getComputedStyle(document.body).fontFamily") != ""


def faults(reader):
    """Return the violations of accessibility, with the elements."""
    violations = Axe().run(reader.page).response["violations"]
    return [
        (violation["id"], [node["target"] for node in violation["nodes"]])
        for violation in violations
    ]  # fmt: skip


def test_the_keyboard_reaches_the_content_first(reader):
    reader.open("/logs/email")
    reader.page.keyboard.press("Tab")
    link = reader.page.get_by_role("link", name="Skip to content")
    assert link.evaluate("it => it === document.activeElement")
    assert reader.page.evaluate(
        "getComputedStyle(document.activeElement).outlineStyle") == "solid"  # fmt: skip
    reader.page.keyboard.press("Enter")
    assert reader.page.evaluate("document.activeElement.id") == "main"


def test_a_message_says_why_it_has_its_status_and_what_to_do(reader, bounced):
    reader.open(f"/messages/email?{address_of(bounced)}")
    text = reader.page.locator("main").inner_text()
    assert f"Why {bounced['status']}" in text
    assert "This email address does not exist." in text
    assert "What to do: Check the spelling, or ask them for the right address." in text
    steps = reader.page.locator("ol.timeline li")
    assert steps.count() >= 2
    assert "Handed over for delivery" in steps.first.inner_text()
    assert "1 Nov 2026" in steps.first.inner_text()
    assert "Bounced" in text
    for word in ("550", "5.1.1", "Rule", "decide", "email.sends", "offset", "lost"):
        assert word not in text, word
    assert reader.open("/messages/email?message_id=none&recipient=x").status == 404


def test_technical_details_of_a_message_are_folded_away(reader, bounced):
    reader.open(f"/messages/email?{address_of(bounced)}")
    details = reader.page.locator("details.technical")
    assert not details.locator("ol.events").is_visible()
    details.locator("summary").first.click()
    text = details.inner_text()
    assert bounced["status_reason"] in text
    assert "550 5.1.1 mailbox does not exist" in text  # the codes in plain words
    assert "=nobody here" in text  # and the provider's own
    assert "Rule 1 of the log decided" in text
    assert "recorded 1 Nov 2026" in text


def test_an_address_has_both_logs_in_one_list_and_its_blacklist_entry(reader, api):
    with api.client("a") as client:
        expected = client.get(f"/api/v1/recipients/{P1}").json()["rows"]
    reader.open(f"/addresses?address={P1.upper()}")
    assert [link[0] for link in reader.links()] == [row["message_id"] for row in expected]
    text = reader.page.locator("main").inner_text()
    assert "Blacklisted for email: hard bounce" in text
    assert "550 a's own" in text
    reader.page.get_by_role("link", name="Why, and reset").click()
    reader.page.wait_for_url("**/blacklist/email?*")


def test_the_blacklist_is_narrowed_by_channel_rule_and_address(reader):
    reader.open("/blacklist")
    names = reader.page.locator("tbody tr td:first-child")
    assert names.all_inner_texts() == [P1, P2, "+447700900001"]
    for label, value, expected in (
        ("Channel", "sms", ["+447700900001"]), ("Why", "complaint", [P2]), ("Address", "P1@", [P1]),
    ):  # fmt: skip
        reader.open("/blacklist")
        field = reader.page.get_by_label(label).first
        field.fill(value) if label == "Address" else field.select_option(value)
        reader.page.get_by_role("button", name="Search").click()
        reader.page.wait_for_url("**/blacklist?*")
        assert names.all_inner_texts() == expected
    reader.open("/blacklist?address=nobody")
    assert "Nobody like that is blacklisted." in reader.page.locator("main").inner_text()


def answer_commands(api, change, **fields):
    """Give each command this outcome from now on."""
    api.on_command = lambda command: api.add_history_row(
        "a", command.address, change, actor=command.actor, reason=command.reason,
        cause_event_id=command.id, channel=command.channel, **fields,
    )  # fmt: skip


@pytest.fixture
def commanded(api):
    api.commands.clear()
    yield api
    api.on_command, api.kafka_answers = None, True


def submit(reader, address, reason, *, channel="email", button="Reset", confirmed=False):
    reader.open(f"/blacklist/{channel}?address={address}")
    reader.page.get_by_label("Reason").fill(reason)
    if confirmed:
        reader.page.get_by_role("checkbox").check()
    reader.page.get_by_role("button", name=button).click()


def test_a_complaint_is_reset_only_with_a_tick_and_the_result_is_shown(reader, commanded):
    api = commanded
    api.add_history_row("a", "tick@example.com", "added", rule="complaint", occurred_at=START)
    answer_commands(api, "reset", rule="complaint")
    submit(reader, "tick@example.com", "she called")
    assert api.commands == []  # the browser asks for the tick
    reader.page.get_by_role("checkbox").check()
    reader.page.get_by_role("button", name="Reset").click()
    reader.page.get_by_text("Done: reset").wait_for()
    [command] = api.commands
    assert (command.reason, command.confirmed_complaint, command.actor) == ("she called", True, "a")
    text = reader.page.locator("main").inner_text()
    assert "Not blacklisted for email." in text
    assert [cell.split("\n")[0] for cell in
            reader.page.locator("tbody tr td:nth-child(2)").all_inner_texts()] == [
        "Reset", "Blacklisted",
    ]  # fmt: skip
    reader.page.reload()  # a reload asks for nothing again
    assert len(api.commands) == 1


def test_an_address_is_listed_by_hand(reader, commanded):
    answer_commands(commanded, "added", rule="by_hand")
    reader.open("/blacklist")
    reader.page.get_by_text("Blacklist an address by hand").click()
    reader.page.get_by_label("Number for SMS").fill("+44 7700 900777")
    reader.page.get_by_role("button", name="Continue").last.click()
    reader.page.get_by_label("Reason").fill("asked on the telephone")
    reader.page.get_by_role("button", name="Blacklist", exact=True).click()
    reader.page.get_by_text("Done: blacklisted (listed by hand)").wait_for()
    assert commanded.commands[0].address == "+447700900777"
    assert "asked on the telephone" in reader.page.locator("main").inner_text()


def test_a_refused_change_says_why(reader, commanded):
    commanded.on_command = lambda command: commanded.add_history_row(
        "a", P1, "refused", reason="not now", cause_event_id=command.id
    )
    submit(reader, P1, "x")
    reader.page.get_by_text("Refused: not now").wait_for()
    assert "Blacklisted for email." in reader.page.locator("main").inner_text()


def test_a_change_that_takes_its_time_is_shown_when_it_took_effect(reader, commanded):
    api = commanded
    submit(reader, P1, "patience")
    reader.page.get_by_text("No worker has dealt with it yet").wait_for()
    [command] = api.commands
    api.add_history_row(
        "a", "p1@d1.example", "reset", rule="soft_bounces", cause_event_id=command.id
    )
    reader.page.get_by_text("Done: reset").wait_for()
    assert api.commands == [command]


def test_a_change_that_kafka_did_not_take_keeps_what_was_typed(reader, commanded):
    commanded.kafka_answers = False
    submit(reader, P1, "typed with care")
    reader.page.get_by_text("Kafka did not confirm the command").wait_for()
    assert reader.page.get_by_label("Reason").input_value() == "typed with care"


def test_the_overview_counts_what_the_api_counts(reader, api):
    with api.client("a") as client:
        counts = client.get("/api/v1/statistics/email?since=2026-10-30").json()["counts"]
    total = sum(count["messages"] for count in counts)
    reader.open("/overview/email?days=90")
    assert reader.page.get_by_role("img", name="Messages per day").is_visible()
    tiles = reader.page.locator(".tiles li").all_inner_texts()
    assert tiles[0].split() == [str(total), "messages"]
    bounced = sum(count["messages"] for count in counts if count["status"] == "Bounce")
    assert any(tile.split()[-1] == str(bounced) and "bounced" in tile for tile in tiles)
    reader.page.get_by_text("As a table").click()
    row = reader.page.locator(".figures tbody tr")
    assert row.count() == len({count["group"] for count in counts})
    first = sum(n["messages"] for n in counts if n["group"] == counts[0]["group"])
    assert row.last.locator("td").last.inner_text() == str(first)
    row.last.get_by_role("link").click()
    reader.page.wait_for_url("**/logs/email?*")
    assert "date is 2026-11-01" in reader.page.locator("main").inner_text()
    reader.open("/overview/email?hours=0")
    reader.page.get_by_role("link", name="All of them in the log").click()
    reader.page.get_by_text("status is Sent").wait_for()
    assert len(reader.links()) > 5


def test_an_operator_sees_dead_letters_by_reason_and_their_bytes(readers, api):
    reader = readers(api.keys["operator"], "/dead-letters")
    reader.page.get_by_role("link", name="no event").first.click()
    reader.page.wait_for_url("**reason=*")
    reader.page.get_by_role("link", name="email.events.ses/1/8").click()
    assert "{}" in reader.page.get_by_label("The record as text").inner_text()
    reader.open("/dead-letters/email.events.ses/1/7/-1")
    assert "000000  ff 20 6e 6f 74" in reader.page.locator("pre").last.inner_text()
    assert "\ufffd not text" in reader.page.locator("pre").first.inner_text()
    assert "10" in reader.page.locator("dl.facts").inner_text().split()


def test_someone_with_several_tenants_chooses_one_and_their_pages_stay_apart(readers, api):
    reader = readers(api.keys["both"], "/logs/email?q=e")
    reader.page.get_by_label("Tenant").fill("b")
    reader.page.get_by_role("button", name="Show").click()
    reader.page.wait_for_url("**tenant=b*")
    assert "q=e" in reader.page.url
    assert {row[2].split()[0] for row in reader.rows()} == {SECRET}
    reader.page.get_by_role("link", name="b", exact=True).click()
    reader.page.get_by_role("link", name="a", exact=True).click()
    reader.page.get_by_role("link", name="Email Log").click()
    reader.page.wait_for_url("**/logs/email?*")
    assert SECRET not in reader.page.content()


def test_while_clickhouse_is_away_a_page_says_so_and_comes_back_by_itself(reader, engine):
    reader.open("/logs/email")
    engine.kill()
    try:
        assert reader.open("/logs/email?sort=status").status == 503
        text = reader.page.locator("main").inner_text()
        assert "ClickHouse is away" in text
        assert "tries again by itself" in text
    finally:
        engine.start()
    reader.page.get_by_role("columnheader", name="Status").wait_for(timeout=60_000)
    assert len(reader.links()) == 50


def test_a_reader_s_own_time_is_at_hand(browser, site, api):
    wrong = []
    reader = Reader(browser, site, wrong, timezone_id="Asia/Tokyo", locale="en-GB")
    reader.sign_in(api.keys["a"], "/logs/email")
    time = reader.page.locator("td.when time").first
    text, stamp = time.inner_text(), time.get_attribute("datetime")
    assert stamp.endswith("Z")
    hour = int(stamp[11:13])
    assert f"{(hour + 9) % 24:02}:" in text
    assert f"{hour:02}:" in time.get_attribute("title")
    reader.page.get_by_role("link", name="Change").click()
    reader.page.get_by_label("Show times and days of").select_option("UTC")
    reader.page.get_by_role("button", name="Show").first.click()
    reader.page.get_by_text("Times are those of UTC.").wait_for()
    assert f"{hour:02}:" in reader.page.locator("td.when time").first.inner_text()
    reader.context.close()
    assert wrong == []


def test_a_pasted_list_is_previewed_and_reset_by_one_click(reader, commanded):
    many = [f"many{number}@example.com" for number in range(3)]
    for address in many:
        commanded.add_history_row("a", address, "added", occurred_at=START)
    answer_commands(commanded, "reset")
    reader.open("/blacklist")
    reader.page.get_by_role("link", name="Reset several addresses").click()
    reader.page.get_by_label("Addresses and numbers").fill("\n".join([*many, P2]))
    reader.page.get_by_role("button", name="Show what would happen").click()
    reader.page.get_by_text("3 can be reset, 1 not reset. Nothing has been changed yet.").wait_for()
    assert faults(reader) == []
    assert commanded.commands == []
    reader.page.get_by_label("Reason").fill("our server was down")
    reader.page.get_by_role("button", name="Reset 3 addresses").click()
    reader.page.get_by_text("3 reset, 1 not reset.").wait_for()
    assert faults(reader) == []
    assert [each.address for each in commanded.commands] == many


def test_somebody_chooses_spanish_and_the_script_says_it_too(readers, commanded):
    reader = readers(commanded.keys["a"])
    reader.open("/time-zone?next=/blacklist")
    reader.page.get_by_label("Show the pages in").select_option("Español")
    reader.page.get_by_role("button", name="Show").last.click()
    reader.page.get_by_role("heading", name="Lista de bloqueo").wait_for()
    assert reader.page.evaluate("document.documentElement.lang") == "es"
    reader.open(f"/blacklist/email?address={P1}")
    reader.page.evaluate(
        "document.forms[1].addEventListener('submit', event => event.preventDefault())"
    )
    reader.page.get_by_label("Motivo").fill("llamó")
    reader.page.get_by_role("button", name="Restablecer").click()
    reader.page.get_by_role("button", name="Esperando a que surta efecto…").wait_for()
    assert commanded.commands == []
