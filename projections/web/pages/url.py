"""URLs of pages: they hold all that a page shows, so that people can share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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


def shareable_url(request: Request) -> PageUrl:
    """Return the URL of a request if it is normalised, else raise a redirect to the one that is."""
    url = PageUrl.of(request)
    if url.normalised() != url:
        raise RedirectError(str(url.normalised()))
    return url
