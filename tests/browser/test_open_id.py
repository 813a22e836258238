"""The pages around signing in at a provider: accessible, and as wide as the window."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.browser.conftest import serve
from tests.browser.test_pages import faults
from tests.integration.projections.web.test_open_id import site_with
from tests.open_id_issuer import running_issuer, sign_in_at


@pytest.fixture
def issuer():
    with running_issuer() as issuer:
        yield issuer


def come_back(reader, issuer):
    """Go to the provider and come back, without a page of it."""
    there = reader.context.request.get("/sign-in/provider", max_redirects=0).headers["location"]
    reader.open(f"/sign-in/callback?{urlencode(issuer.authorize(there))}")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_pages_of_signing_in_are_accessible_and_fit(api, issuer, readers, scheme, width):
    sign_in = sign_in_at(issuer, email_domains=frozenset({"example.com"}))
    with serve(site_with(api, sign_in)) as address:
        reader = readers(
            address=address, color_scheme=scheme, viewport={"width": width, "height": 800}
        )
        page = reader.page

        def looks_well(text):
            page.get_by_text(text).first.wait_for()
            assert faults(reader) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width

        issuer.is_away = True
        reader.open("/sign-in")
        looks_well("Not available now")
        assert page.get_by_role("button", name="Sign in with Studio Login").is_disabled()
        assert page.get_by_label("API key").evaluate("field => field === document.activeElement")
        issuer.is_away = False
        sign_in.provider._failed_at = float("-inf")
        reader.open("/sign-in?next=/logs/sms")
        looks_well("Sign in with Studio Login")
        link = page.get_by_role("link", name="Sign in with Studio Login")
        assert link.get_attribute("href") == "/sign-in/provider?next=%2Flogs%2Fsms"
        issuer.claims["groups"] = ["x" * 70, "everybody"]
        come_back(reader, issuer)
        looks_well("none of your groups may see a log")
        issuer.claims["email"] = "ann@elsewhere.example"
        come_back(reader, issuer)
        looks_well("confirmed address of example.com")
        issuer.claims |= {"email": "ann@example.com", "groups": ["helpers"]}
        come_back(reader, issuer)
        assert page.get_by_role("button", name="Sign out").get_attribute("title") == (
            "Signed in as Ann Clark (ann@example.com)"
        )
