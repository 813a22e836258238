"""Saved views in a browser: by keyboard and without JavaScript, in light and dark, on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.test_pages import faults

SEARCH = "/logs/email?status=Bounce&filter=date%3E%3D6+days+ago"


@pytest.fixture
def key(api):
    """A key of its own, which has no views yet."""
    api.add_key("with views", ["a"])
    return api.keys["with views"]


@pytest.mark.parametrize("has_script", [True, False])
def test_a_search_is_saved_opened_and_deleted(readers, key, has_script):
    page = readers(key, SEARCH, java_script_enabled=has_script).page
    page.get_by_text("Views", exact=True).click()
    page.get_by_label("Save this search as").fill("Bounced this week")
    page.keyboard.press("Enter")
    page.get_by_text("Views: Bounced this week").wait_for()
    assert page.url.endswith(SEARCH)
    page.get_by_role("link", name="SMS Log").click()
    page.get_by_role("link", name="Email Log").click()
    page.get_by_text("Views", exact=True).click()
    page.get_by_role("list", name="Saved views").get_by_role("link").click()
    page.get_by_text("Views: Bounced this week").click()
    assert page.url.endswith(SEARCH)
    assert "6 days ago" in page.get_by_role("list", name="Filters").inner_text()
    page.get_by_role("button", name="Delete the view: Bounced this week").click()
    expect(page.get_by_text("Views", exact=True)).to_be_visible()
    assert page.url.endswith(SEARCH)
    assert page.get_by_role("list", name="Saved views").count() == 0


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_a_list_of_views_is_accessible_and_fits(readers, key, scheme, width):
    reader = readers(key, SEARCH, color_scheme=scheme, viewport={"width": width, "height": 900})
    page = reader.page
    for number, name in enumerate(("Bounced this week", "W" * 80), 1):
        page.locator("summary").filter(has_text="Views").click()
        page.get_by_label("Save this search as").fill(name)
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".views li")).to_have_count(number)
    page.locator("summary").filter(has_text="Views").click()
    assert faults(reader) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
