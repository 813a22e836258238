"""Addresses that mailers say and pages link to."""

from __future__ import annotations

from urllib.parse import urlsplit


def link_url(text: str) -> str:
    """Return a text if it is an http address that a page may link to, else ""."""
    try:
        parts = urlsplit(text)
        is_link = parts.scheme in {"http", "https"} and bool(parts.hostname) and text.isprintable()
    except ValueError:
        return ""
    return text if is_link else ""
