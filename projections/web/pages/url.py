"""URLs of pages: they hold all that a page shows, so that people can share them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request


class RedirectError(Exception):
    """The answer is a redirect to `location`."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


def build_url(path: str, pairs: Sequence[tuple[str, object]]) -> str:
    """Return the URL of a path with parameters."""
    return f"{path}?{urlencode(pairs)}" if pairs else path


def return_url(request: Request) -> str:
    """Return the URL to come back to after signing in: the page itself, or the start page."""
    return page_url(request) if request.method == "GET" else "/"


def page_url(request: Request) -> str:
    """Return the URL of a request, without the site."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def local_url(url: str) -> str:
    """Return a URL if it is one of our pages, else that of the start page."""
    is_local = url.startswith("/") and not url.startswith(("//", "/\\"))
    return url if is_local and url.isprintable() else "/"


#: The fields of a period, and how the date of a message compares with them.
_PERIOD_OPERATORS: Final = {"from": ">=", "to": "<="}


#: Parameters that no link of the page repeats.
_OF_ONE_ANSWER: Final = frozenset({"cursor", "total", "last"})


@dataclass(frozen=True, slots=True)
class PageUrl:
    """A page's path and parameters, without the cursor and what else is of one answer only."""

    path: str
    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, request: Request) -> PageUrl:
        """Return the URL of a request."""
        pairs = [
            pair for pair in request.query_params.multi_items() if pair[0] not in _OF_ONE_ANSWER
        ]
        return cls(request.url.path, tuple(pairs))

    def __str__(self) -> str:
        return build_url(self.path, self.pairs)

    def value_of(self, name: str) -> str:
        """Return the value of a parameter; "" if there is none."""
        return dict(self.pairs).get(name, "")

    def with_path(self, path: str) -> PageUrl:
        """Return the same parameters with another path."""
        return replace(self, path=path)

    def with_pair(self, name: str, value: str) -> PageUrl:
        """Return it with one more parameter."""
        return replace(self, pairs=(*self.pairs, (name, value)))

    def with_values(self, **values: str) -> PageUrl:
        """Return it with these parameters, which replace those of the same names."""
        return replace(self, pairs=(*self.without(*values).pairs, *values.items()))

    def without(self, *names: str) -> PageUrl:
        """Return it without the parameters of these names."""
        return replace(self, pairs=tuple(pair for pair in self.pairs if pair[0] not in names))

    def without_pairs(self, *pairs: tuple[str, str]) -> PageUrl:
        """Return it without these pairs of name and value."""
        return replace(self, pairs=tuple(pair for pair in self.pairs if pair not in pairs))

    def in_utc(self, zone: tzinfo) -> PageUrl:
        """Return it with the local time of the form `at`, and of a new filter, as one of UTC."""
        values = dict(self.pairs)
        url = self
        if at := values.get("at"):
            url = url.without("at", "as_of").with_pair("as_of", _utc_text(at, zone))
        if is_time_column(values.get("column", "")):
            url = replace(url, pairs=tuple(
                (name, _utc_text(value, zone) if name == "value" else value)
                for name, value in url.pairs
            ))  # fmt: skip
        return url

    def with_days(self, canonical: Callable[[str], str]) -> PageUrl:
        """Return it with the days of a search and of filters as a function gives them."""
        changed = {"q", "value"} if is_time_column(self.value_of("column")) else {"q"}
        return replace(self, pairs=tuple(
            (name, canonical(value)) if name in changed
            else (name, _with_day(value, canonical)) if name == "filter"
            else (name, value)
            for name, value in self.pairs
        ))  # fmt: skip

    def normalised(self) -> PageUrl:
        """Return it without empty parameters, and with a new filter's three fields as one.

        The days from which and to which messages are asked for become filters, too, and the choice
        of an order its two parameters.
        """
        values = dict(self.pairs)
        fields = {"column", "is", "value", "by", *_PERIOD_OPERATORS}
        pairs = tuple(pair for pair in self.pairs if pair[1] and pair[0] not in fields)
        url = replace(self, pairs=pairs)
        for name, operator in _PERIOD_OPERATORS.items():
            if day := values.get(name, "").strip():
                url = url.without_pairs(*(
                    pair for pair in url.pairs
                    if pair[0] == "filter" and pair[1].startswith(f"date{operator}")
                ))  # fmt: skip
                url = url.with_pair("filter", f"date{operator}{day}")
        if values.get("by"):
            sort, _, order = values["by"].partition(" ")
            url = url.with_values(sort=sort, order=order)
        if column := values.get("column"):
            filter_ = f"{column}{values.get('is', '=')}{values.get('value', '').strip()}"
            url = url.without_pairs(("filter", filter_)).with_pair("filter", filter_)
        return url


#: A condition on a column: all up to its value, and that.
_CONDITION: Final = re.compile(r"(?P<start>(?P<column>\w+)(?:[<>!]=?|=))(?P<value>.*)", re.DOTALL)
_LOCAL_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?")


def _utc_text(text: str, zone: tzinfo) -> str:
    """Return the text of a local time in UTC, as 2026-11-25T16:00Z; another stays."""
    try:
        if not _LOCAL_TIME.fullmatch(text.strip()):
            return text
        local = datetime.fromisoformat(text.strip()).replace(tzinfo=zone)
        utc = local.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return text
    return f"{utc.isoformat(timespec='seconds' if utc.second else 'minutes')}Z"


def _with_day(text: str, canonical: Callable[[str], str]) -> str:
    """Return a condition on a time with its day as a function gives it; another stays."""
    condition = _CONDITION.fullmatch(text)
    if condition is None or not is_time_column(condition["column"]):
        return text
    return condition["start"] + canonical(condition["value"])


def is_time_column(name: str) -> bool:
    """Return whether a column of a log is a time, by its name."""
    return name == "date" or name.endswith("_at")


def shareable_url(request: Request) -> PageUrl:
    """Return the URL of a request if it is normalised, else raise a redirect to the one that is."""
    url = PageUrl.of(request)
    if url.normalised() != url:
        raise RedirectError(str(url.normalised()))
    return url
