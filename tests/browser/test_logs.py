"""The logs in a browser: search, order, filters, pages, shared URLs, and newer messages."""

from __future__ import annotations

import csv
from datetime import timedelta

import pytest

from projections.queries.plain_reasons import plain_reason
from tests.api import START, complete_events


@pytest.fixture
def reader(reader):
    """A person on the page of the Email Log."""
    reader.open("/logs/email")
    return reader


def api_rows(api, path, key="a"):
    """Return the rows of an answer of the API."""
    with api.client(key) as client:
        reply = client.get(f"/api/v1{path}")
        assert reply.status_code == 200, reply.text
        return reply.json()["rows"]


def keys_of(rows):
    return [(row["message_id"], row["recipient"]) for row in rows]


def test_a_page_has_what_the_api_has(reader, api):
    for channel in ("email", "sms"):
        reader.open(f"/logs/{channel}")
        rows = api_rows(api, f"/logs/{channel}")
        assert reader.links() == keys_of(rows)
        cells = reader.rows()
        assert [row[1].split()[0] for row in cells] == [row["recipient"] for row in rows]
        assert [row[3] for row in cells] == [row["status"] for row in rows]


def test_a_search_finds_a_text_in_any_field_and_stands_in_the_address(reader, api):
    for text in ("INVOICE", "p3@d0", "mailbox does not exist", "a-email-41"):
        reader.page.get_by_label("Search all fields").fill(text)
        reader.page.get_by_role("button", name="Search").click()
        reader.page.get_by_text(f"anything contains {text}").wait_for()
        expected = api_rows(api, f"/logs/email?q={text}")
        assert expected
        assert reader.links() == keys_of(expected)
        assert "q=" in reader.page.url
        assert reader.page.locator("tbody mark").count() >= len(expected)
    assert "Matched in message id: a-email-41" in reader.page.locator("tbody").inner_text()
    for text, meaning in (("bounced", "status is Bounce"), ("1 Nov 2026", "date is 1 Nov 2026")):
        reader.page.get_by_label("Search all fields").fill(text)
        reader.page.get_by_role("button", name="Search").click()
        reader.page.get_by_text(meaning).wait_for()
        assert reader.page.get_by_label("Search all fields").input_value() == text
        assert reader.links() == keys_of(api_rows(api, f"/logs/email?q={text}"))
    reader.page.get_by_role("link", name="Search for the text instead").click()
    reader.page.get_by_text('anything contains "1 Nov 2026"').wait_for()


def test_several_statuses_are_asked_for_at_once_also_without_javascript(readers, api):
    reader = readers(api.keys["a"], "/logs/email", java_script_enabled=False)
    page = reader.page
    page.get_by_text("Status: any").click()
    for status in ("Bounce", "Open"):
        page.get_by_role("checkbox", name=status).check()
    page.get_by_role("group", name="Any of these").get_by_role("button", name="Show").click()
    page.get_by_text("Status: Bounce, Open").wait_for()
    assert "q=" not in page.url
    assert reader.links() == keys_of(api_rows(api, "/logs/email?status=Bounce&status=Open"))
    chips = page.get_by_role("list", name="Filters").inner_text()
    assert "status is Bounce" in chips
    assert "or status is Open" in chips
    page.get_by_role("link", name="Remove the filter: status is Bounce").click()
    page.get_by_text("Status: Open", exact=True).wait_for()
    assert reader.links() == keys_of(api_rows(api, "/logs/email?status=Open"))


@pytest.mark.parametrize(
    ("heading", "sort"), [("Date", "date"), ("Recipient", "recipient"), ("Status", "status")]
)
def test_a_column_sorts_both_ways_and_says_so(reader, api, heading, sort):
    orders = set()
    for _ in range(2):
        reader.page.get_by_role("columnheader", name=heading).get_by_role("link").click()
        reader.page.wait_for_url("**order=*")
        order = reader.page.url.rpartition("=")[2]
        direction = {"asc": "ascending", "desc": "descending"}[order]
        head = reader.page.locator(f"th[aria-sort={direction}]")
        head.wait_for()
        assert heading in head.inner_text()
        assert reader.page.locator("th[aria-sort=none]").count() == 2
        assert reader.links() == keys_of(api_rows(api, f"/logs/email?sort={sort}&order={order}"))
        orders.add(order)
    assert orders == {"asc", "desc"}


def test_filters_on_any_column_are_added_and_taken_away_again(reader, api):
    page = reader.page
    for column, comparison, value, text in (
        ("provider", "is", "ses", "provider is ses"),
        ("attempts", "is at least", "1", "attempts is at least 1"),
        ("subject", "contains", "e", "subject contains e"),
        ("date", "is less than", "2026-11-01T15:00", "date before 1 Nov 2026, 15:00"),
    ):
        page.get_by_text("Add a filter").click()
        page.get_by_label("Column").select_option(label=column)
        page.get_by_label("Comparison").select_option(label=comparison)
        page.get_by_label("Value").fill(value)
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_text(text).wait_for()
    filters = "filter=provider=ses&filter=attempts>=1&filter=subject~e&filter=date<2026-11-01T15:00"
    expected = keys_of(api_rows(api, f"/logs/email?{filters}"))
    assert 0 < len(expected) < 30
    assert reader.links() == expected
    page.get_by_role("link", name="Remove the filter: subject contains e").click()
    page.get_by_text("subject contains e").wait_for(state="detached")
    fewer_filters = filters.replace("&filter=subject~e", "")
    assert reader.links() == keys_of(api_rows(api, f"/logs/email?{fewer_filters}"))
    page.get_by_role("link", name="Remove all").click()
    page.get_by_role("list", name="Filters").wait_for(state="detached")


def test_a_period_has_its_first_and_last_day(reader, api):
    page = reader.page
    for start, end in (("2026-11-01", "2026-11-01"), ("2026-11-02", "2026-11-03")):
        page.get_by_text("Dates", exact=True).click()
        page.get_by_label("From", exact=True).fill(start)
        page.get_by_label("To, with that day").fill(end)
        page.get_by_role("button", name="Show").first.click()
        page.get_by_text(f"date until {end}").wait_for()
        expected = api_rows(api, f"/logs/email?filter=date>={start}&filter=date<={end}")
        assert reader.links() == keys_of(expected)
        assert {row["date"][:10] for row in expected} <= {"2026-11-01", "2026-11-02", "2026-11-03"}
    page.get_by_text("Dates", exact=True).click()
    page.get_by_role("link", name="90 days").click()
    page.get_by_text("date until 2026-11-03").wait_for(state="detached")
    assert page.url.count("filter=") == 1


def test_a_filter_that_cannot_be_asked_is_refused_in_words(reader):
    for parameter, text in (
        ("filter=nothing=1", "no column"), ("filter=open_count=x", "whole number"),
        ("as_of=yesterday", "as_of"), ("cursor=AAAA", "cursor"), ("filter=nothing", "no operator"),
        ("status=Bounced", "takes one of Bounce, Click"),
    ):  # fmt: skip
        assert reader.open(f"/logs/email?q=typed&{parameter}").status == 422
        assert text in reader.page.get_by_role("alert").inner_text()
        assert reader.page.get_by_label("Search all fields").input_value() == "typed"


def test_pages_follow_one_another_with_every_message_once(reader, api):
    whole = keys_of(api_rows(api, "/logs/email?limit=1000&sort=recipient"))
    reader.open("/logs/email?sort=recipient")
    links = reader.links()
    while (link := reader.page.get_by_role("link", name="Next page")).count():
        before = reader.page.url
        link.click()
        reader.page.wait_for_url(lambda url, before=before: url != before)
        links += reader.links()
    assert len(whole) > 50
    assert links == whole
    reader.page.get_by_text(f"51\u2013{len(whole)} of {len(whole)}").wait_for()
    reader.page.get_by_role("link", name="Previous page").click()
    reader.page.get_by_text(f"1\u201350 of {len(whole)}").wait_for()  # counted after the page
    reader.page.get_by_role("link", name="Next page").wait_for()
    assert reader.links() == whole[:50]
    assert reader.page.get_by_role("link", name="Previous page").count() == 0
    reader.page.get_by_role("link", name="First page").click()
    reader.page.get_by_role("link", name="Next page").wait_for()
    assert reader.links() == whole[:50]


def test_an_address_can_be_shared(readers, reader, api):
    path = "/logs/email?q=e&filter=provider%3Dses&sort=recipient&order=desc"
    reader.open(path)
    other = readers(api.keys["a reader"], path)
    assert other.page.url == reader.page.url
    assert other.rows() == reader.rows()
    assert len(other.rows()) > 3
    operator = readers(api.keys["operator"], f"{path}&tenant=a")
    assert operator.links() == reader.links()
    assert "tenant=a" in operator.page.get_by_role("link", name="SMS Log").get_attribute("href")


def test_the_reason_of_a_status_has_a_column_where_there_is_room(reader, api):
    reader.open("/logs/email?status=Bounce")
    assert reader.page.get_by_role("columnheader", name="Reason").is_visible()
    reasons = reader.page.locator("td.why").all_inner_texts()
    assert "This email address does not exist" in reasons
    for row, reason in zip(api_rows(api, "/logs/email?status=Bounce"), reasons, strict=True):
        assert reason == plain_reason("email", row).words
    reader.page.set_viewport_size({"width": 390, "height": 844})
    assert not reader.page.locator("td.why").first.is_visible()
    assert reader.page.locator("td.state .note").first.inner_text() == reasons[0]
    reader.page.set_viewport_size({"width": 900, "height": 900})  # nor where nobody can hover
    assert reader.page.locator("td.state .note").first.inner_text() == reasons[0]


def test_keys_go_to_the_search_and_from_row_to_row_and_can_be_turned_off(reader):
    page, keyboard = reader.page, reader.page.keyboard
    active = "document.activeElement"

    def row():
        return page.evaluate(
            f"[...document.querySelectorAll('tbody tr')].indexOf({active}.closest('tr'))"
        )

    keyboard.press("/")
    assert page.evaluate(f"{active}.name") == "q"
    keyboard.type("jk/?")
    assert page.get_by_label("Search all fields").input_value() == "jk/?"
    page.evaluate(f"{active}.blur()")
    for key, place in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        keyboard.press(key)
        assert row() == place
    opened = page.evaluate(f"{active}.href")
    keyboard.press("Enter")
    page.wait_for_url(opened)
    page.go_back()
    keyboard.press("?")
    page.get_by_role("dialog", name="Keys").get_by_role("checkbox").uncheck()
    keyboard.press("Escape")
    page.reload()
    keyboard.press("j")
    assert row() == -1
    keyboard.press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()


def test_a_log_is_sorted_on_a_phone_whose_first_screen_has_its_first_row(readers, api):
    options = {"viewport": {"width": 390, "height": 844}, "java_script_enabled": False}
    reader = readers(api.keys["a"], "/logs/email", **options)
    box = reader.page.locator("tbody tr").first.bounding_box()
    assert box["y"] + box["height"] < 844
    reader.page.get_by_label("Order").select_option("Recipient from Z")
    reader.page.get_by_role("button", name="Sort").click()
    reader.page.wait_for_url("**sort=recipient&order=desc")
    assert reader.links() == keys_of(api_rows(api, "/logs/email?sort=recipient&order=desc"))
    assert not reader.page.locator("thead a").first.is_visible()  # no focus where nobody sees it


def test_a_button_says_that_its_page_is_on_its_way(reader):
    # As long as the answer takes: it never comes.
    reader.page.locator("form.search").evaluate(
        "form => form.addEventListener('submit', event => event.preventDefault())"
    )
    reader.page.get_by_role("button", name="Search").click()
    reader.page.locator("button[aria-busy=true]").wait_for()
    assert reader.page.locator("main").get_attribute("aria-busy") == "true"


def test_columns_are_chosen_and_stand_in_the_address(readers, api):
    reader = readers(api.keys["a"], "/logs/email?status=Bounce", java_script_enabled=False)
    page = reader.page
    page.get_by_text("Columns", exact=True).click()
    chooser = page.get_by_role("group", name="What the table shows")
    chooser.get_by_label("Recipient").uncheck()
    chooser.get_by_label("Reason", exact=True).uncheck()
    chooser.get_by_label("Diagnostic").check()
    chooser.get_by_label("Delivered inferred").check()
    page.locator("form", has=chooser).get_by_role("button", name="Show").click()
    heads = page.locator("thead th").all_inner_texts()
    assert [head.strip(" ▼↕\n") for head in heads] == [
        "Date", "Subject", "Status", "Delivered inferred", "Diagnostic",
    ]  # fmt: skip
    expected = api_rows(api, "/logs/email?status=Bounce")
    assert [row[4] for row in reader.rows()] == [row["diagnostic"] or "—" for row in expected]
    assert {row[3] for row in reader.rows()} <= {"yes", "no"}
    assert "columns=diagnostic" in page.url
    page.get_by_text("Columns", exact=True).click()
    page.get_by_role("link", name="The usual ones").click()
    page.get_by_role("columnheader", name="Reason").wait_for()
    assert reader.open("/logs/email?columns=secret").status == 422
    assert "no column 'secret'" in page.get_by_role("alert").inner_text()


def test_a_printed_log_is_its_rows(reader):
    reader.page.emulate_media(media="print")
    shown = reader.page.locator("body").inner_text()
    assert "Search all fields" not in shown
    assert "Sign out" not in shown
    assert len(reader.rows()) == 50
    reader.page.emulate_media(media="screen", forced_colors="active")
    current = reader.page.locator("nav [aria-current=page]")
    assert current.evaluate("it => getComputedStyle(it).borderTopWidth") == "2px"


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_a_log_leads_to_the_meaning_of_its_statuses(reader, channel):
    reader.open(f"/logs/{channel}")
    reader.page.get_by_text("Status: any").click()
    statuses = reader.page.locator(".choice label").all_inner_texts()
    reader.page.get_by_role("link", name="What do the statuses mean?").click()
    reader.page.wait_for_url(f"**/help/statuses**#{channel}")
    section = reader.page.get_by_role(
        "region", name={"email": "Email Log", "sms": "SMS Log"}[channel]
    )
    explained = section.locator("table").first.locator("tbody td:first-child").all_inner_texts()
    assert explained == [status.strip() for status in statuses]
    text = section.inner_text()
    assert {"email": "Their mailbox is full", "sms": "it may be a landline"}[channel] in text
    assert {"email": "landline", "sms": "mailbox"}[channel] not in text


def test_newer_messages_are_hinted_at_and_what_is_read_stays(readers, api):
    reader = readers(api.keys["b"], "/logs/sms")
    before = reader.rows()
    place = reader.page.locator("tbody tr").first.bounding_box()
    late = [
        {"channel": "sms", "kind": "sent", "message_id": f"late-{n}", "recipient": "+447700900555",
         "occurred_at": START + timedelta(days=20, minutes=n), "text": "late",
         "recorded_at": START + timedelta(days=20, minutes=n)} for n in range(3)
    ]  # fmt: skip
    api.add_events(complete_events(late, "b"))
    hint = reader.page.get_by_role("link", name="3 newer: show")
    hint.wait_for()
    assert reader.rows() == before
    assert reader.page.locator("tbody tr").first.bounding_box() == place
    hint.click()
    hint.wait_for(state="detached")
    assert [link[0] for link in reader.links()[:3]] == ["late-2", "late-1", "late-0"]


@pytest.mark.parametrize("clock", ["occurred", "recorded"])
def test_the_log_is_shown_as_it_was(reader, api, clock):
    page = reader.page
    page.get_by_text("As it was").click()
    page.get_by_label("At", exact=True).fill("2026-11-01T13:30")
    page.get_by_label("By what").select_option(clock)
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_text("The log as it was on 1 Nov 2026, 13:30").wait_for()
    expected = api_rows(api, f"/logs/email?as_of=2026-11-01T13:30&clock={clock}")
    assert 0 < len(expected) < 50
    assert reader.links() == keys_of(expected)
    assert page.locator("[data-newer]").count() == 0
    page.get_by_role("link", name="Back to now").click()
    page.get_by_text("The log as it was").wait_for(state="detached")


def test_what_the_filters_keep_is_exported(reader, api):
    reader.open("/logs/email?status=Bounce")
    reader.page.get_by_text("Export", exact=True).click()
    for name, form in (("CSV", "csv"), ("NDJSON", "ndjson"), ("Parquet", "parquet")):
        with reader.page.expect_download() as waiting:
            reader.page.get_by_role("link", name=name, exact=True).click()
        with api.client("a") as client:
            expected = client.get(f"/api/v1/logs/email/export?format={form}&status=Bounce").content
        path = waiting.value.path()
        assert waiting.value.suggested_filename.endswith(f".{form}")
        assert path.read_bytes() == expected
        if form == "csv":
            with path.open(newline="") as file:
                assert {row["status"] for row in csv.DictReader(file)} == {"Bounce"}


def test_an_empty_page_says_what_there_is_instead(reader, api):
    newest = api_rows(api, "/logs/email?record_type=family&limit=1")[0]
    record = f"record_type=family&record_id={newest['record_id']}"
    main = reader.page.locator("main")
    reader.open(f"/logs/email?{record}&filter=date>=2026-11-20")
    text = f"No email to family {newest['record_id']} in this period; the latest was 1 November"
    assert text in main.inner_text()
    reader.page.get_by_role("link", name="1 November 2026").click()
    reader.page.wait_for_url("**record_id=*")
    assert reader.links() == keys_of(api_rows(api, f"/logs/email?{record}"))
    reader.open(f"/logs/email?{record}&q=nobody+wrote+this")
    assert f"No email to family {newest['record_id']} matches" in main.inner_text()
    reader.open("/logs/sms?record_type=family&record_id=none-such")
    assert "No SMS to family none-such yet." in main.inner_text()


def test_all_of_it_works_without_javascript(readers, api):
    reader = readers(java_script_enabled=False)
    page = reader.sign_in(api.keys["a"], "/logs/email?sort=status")
    page.get_by_role("link", name="of how many?").click()
    page.get_by_text("1\u201350 of ").wait_for()
    assert "total" not in page.get_by_role("link", name="Next page").get_attribute("href")
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="First page").wait_for()
    page.get_by_text("Add a filter").click()
    page.get_by_label("Column").select_option("status")
    page.get_by_label("Comparison").select_option("=")
    page.get_by_label("Value").fill("Open")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("status is Open").wait_for()
    assert {row[3].split("\n")[0] for row in reader.rows()} == {"Open"}
