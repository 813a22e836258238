"""The address bar: what a page shows stands in its address, so that it can be shared."""

from __future__ import annotations

from dataclasses import dataclass, replace

from starlette.requests import Request

from projections.web.pages.auth import address


@dataclass(frozen=True, slots=True)
class Bar:
    """A page's path and parameters, without the place in a walk through its pages."""

    path: str
    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, request: Request) -> Bar:
        """Read the address of a request."""
        pairs = [pair for pair in request.query_params.multi_items() if pair[0] != "cursor"]
        return cls(request.url.path, tuple(pairs))

    def __str__(self) -> str:
        return address(self.path, list(self.pairs))

    def to(self, path: str) -> Bar:
        """Return the same parameters at another path."""
        return replace(self, path=path)

    def less(self, *pairs: tuple[str, str]) -> Bar:
        """Return it without these parameters."""
        return replace(self, pairs=tuple(pair for pair in self.pairs if pair not in pairs))

    def without(self, *names: str) -> Bar:
        """Return it without the parameters of these names."""
        return replace(self, pairs=tuple(pair for pair in self.pairs if pair[0] not in names))

    def plus(self, name: str, value: str) -> Bar:
        """Return it with one more parameter."""
        return replace(self, pairs=(*self.pairs, (name, value)))

    def put(self, **values: str) -> Bar:
        """Return it with these parameters, each instead of those of its name."""
        return replace(self.without(*values), pairs=(*self.without(*values).pairs, *values.items()))

    def tidy(self) -> Bar:
        """Return it without what is empty, and with the parts of a new filter put together."""
        given = dict(self.pairs)
        rest = tuple(
            pair for pair in self.pairs if pair[1] and pair[0] not in {"column", "is", "value"}
        )
        bar = replace(self, pairs=rest)
        if column := given.get("column"):
            wanted = f"{column}{given.get('is', '=')}{given.get('value', '').strip()}"
            bar = bar.less(("filter", wanted)).plus("filter", wanted)
        return bar
