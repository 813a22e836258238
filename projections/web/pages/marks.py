"""The words of a search, marked in the rows that have them, also where a row does not show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from projections.queries.search import SEARCHED_COLUMNS, clickhouse_lower
from projections.web.pages.labels import column_name
from projections.web.pages.render import address_excerpt, excerpt, visible_text
from schemas.addresses import address_parts, shown_address
from schemas.events import Channel

#: How much of a text stands before and after a hit that the row does not show.
_CHARACTERS_BEFORE: Final = 30
_CHARACTERS_AFTER: Final = 60


class HiddenHit(NamedTuple):
    """The name of a column that has a word, and its text around that."""

    column: str
    text: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMarks:
    """Marks of the words that were searched for in a log; without words there are none."""

    channel: Channel
    words: Sequence[str] = ()

    def text(self, value: str, length: int) -> Markup:
        """Return the beginning of a text with its marks."""
        if not self.words:
            return excerpt(value, length)
        return _marked(value, self.spans(value), 0, length)

    def address(self, value: str) -> Markup:
        """Return an address as people write it with its marks; a line may break after its @."""
        if not self.words:
            return address_excerpt(value)
        shown = shown_address(value)
        return _marked(shown, self.spans(shown), 0, 64).replace("@", Markup("@<wbr>"))

    def hidden(self, row: Mapping[str, Any], shown: Sequence[str]) -> list[HiddenHit]:
        """Return where a row has those words that none of its shown texts has."""
        return list(self._hidden(row, [*shown, shown_address(row["recipient"])]))

    def _hidden(self, row: Mapping[str, Any], shown: Sequence[str]) -> Iterator[HiddenHit]:
        by_column: dict[str, list[str]] = {}
        for word in self.words:
            has = replace(self, words=(word,)).spans
            if not any(map(has, shown)):
                places = (name for name in SEARCHED_COLUMNS[self.channel] if has(row[name]))
                by_column.setdefault(next(places, ""), []).append(word)
        for column, words in by_column.items():
            if column:
                spans = replace(self, words=words).spans(row[column])
                start = max(0, spans[0][0] - _CHARACTERS_BEFORE)
                length = spans[0][1] + _CHARACTERS_AFTER - start
                yield HiddenHit(column_name(column), _marked(row[column], spans, start, length))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where the words are in a text, in upper or lower case alike: as it is searched."""
        lowered, spans = clickhouse_lower(text), []
        for word in self.words:
            for part in {clickhouse_lower(word), *address_parts(self.channel, word)} - {""}:
                place = lowered.find(part)
                while place >= 0:
                    spans.append((place, place + len(part)))
                    place = lowered.find(part, place + len(part))
        return _joined(sorted(spans))


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans in order without overlaps."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _marked(text: str, spans: Sequence[tuple[int, int]], start: int, length: int) -> Markup:
    """Return a part of a text, with the spans in it marked, and what was left out as dots."""
    end, parts, place = min(start + length, len(text)), [Markup()], start
    within = ((max(first, start), min(last, end)) for first, last in spans)
    for first, last in within:
        if first < last:
            parts += [
                Markup("{}").format(visible_text(text[place:first])),
                Markup("<mark>{}</mark>").format(visible_text(text[first:last])),
            ]
            place = last
    parts.append(Markup("{}").format(visible_text(text[place:end])))
    return Markup("<bdi>{}{}{}</bdi>").format(
        "…" if start else "", Markup().join(parts), "…" if end < len(text) else ""
    )
