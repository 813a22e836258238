"""Which addresses of a business application a page links to."""

from __future__ import annotations

import pytest

from projections.queries.links import link_url


@pytest.mark.parametrize(
    ("url", "is_http"),
    [
        ("https://app.example.com/families/3?a=1#b", True), ("http://localhost:8000/f", True),
        ("HTTPS://app.example.com", True), ("", False), ("https://", False), ("https:///x", False),
        ("javascript:alert(1)", False), ("java\nscript:alert(1)", False), ("//example.com", False),
        ("data:text/html,x", False), ("/families/3", False), ("https://[", False),
        ("https://a.example\u202e", False),
    ],
)  # fmt: skip
def test_only_http_is_linked_to(url, is_http):
    assert link_url(url) == (url if is_http else "")
