"""Brings the catalogues of the pages up to date with the sources: `make locales`.

Messages stand in templates, Python and scripts, and in tables of words, some of them data. A new
language begins with `make locales ARGS=fr`, and is complete when no message of its file is empty.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any, Final, get_args

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import write_po

from projections.queries.listing import statuses_of
from projections.queries.retries import RetryState
from projections.tables import projections
from projections.web.pages import labels
from projections.web.pages.typed_words import RECENT_DAY, RECENT_DAYS, TYPED_STATUS
from projections.web.problems import VALIDATION_TEMPLATES
from projections.web.records import Deliverability
from projections.web.translation import (
    LOCALES_FOLDER,
    SOURCE_LANGUAGE,
    languages,
    read_catalogue,
)
from schemas.reasons import Cause, StatusMeaning, default_reasons
from schemas.resets import RULE_RESETS, ResetTerms

_ROOT: Final = Path(__file__).parents[2]
_METHODS: Final = [("**/embed.js", "javascript"), ("**.py", "python"), ("**.html", "jinja2")]
_OPTIONS: Final = {"**.html": {"trimmed": "true", "newstyle_gettext": "true", "encoding": "utf-8"}}
#: Functions whose literal arguments, by their places, are messages.
_KEYWORDS: Final[dict[str, Any]] = {
    "_": None, "gettext": None, "ngettext": (1, 2), "pgettext": ((1, "c"), 2), "Words": None,
    "ProblemError": (2,), "invalid_parameter": (2,), "unavailable": (1,), "EmbedTokenError": (1,),
}  # fmt: skip
#: What the extractor takes for messages beside the real ones.
_NO_MESSAGES: Final = ("; ",)
#: Texts of a log's and the blacklist's data that pages show as they are.
_TEXTS_OF_DATA: Final = (
    "deferred", "it is blacklisted by hand already", "it was reset after this was asked for",
    "it was sent again meanwhile; look once more",
)  # fmt: skip
#: Statuses of errors whose names people may see.
_ERROR_STATUSES: Final = (400, 401, 404, 405, 409, 411, 413, 500)
_LINE_WIDTH: Final = 100
#: What Babel writes into a header and nobody keeps.
_UNUSED_HEADERS: Final = (
    b'"Project-Id', b'"Report-', b'"POT-', b'"PO-', b'"Last-', b'"Language-Team', b'"Generated',
)  # fmt: skip


def source_catalogue() -> Catalog:
    """Return the catalogue of all messages of the sources, in their order, with where they are."""
    catalogue = Catalog(project="Sendlog", charset="utf-8", fuzzy=False)
    for folder in ("projections", "schemas"):
        for path, line, message, _comments, context in extract_from_dir(
            _ROOT / folder, _METHODS, _OPTIONS, _KEYWORDS
        ):
            catalogue.add(message, locations=[(f"{folder}/{path}", line)], context=context)
    for context, text in _table_messages():
        catalogue.add(text, context=context or None)
    for text in _NO_MESSAGES:
        catalogue.delete(text)
    return catalogue


def _table_messages() -> Iterator[tuple[str, str]]:
    """Yield the (context, text) of what stands in tables and in data."""
    yield from labels.label_messages()
    reasons = default_reasons()
    meanings = [
        meaning for of_channel in reasons.statuses.values() for meaning in of_channel.values()
    ]
    explained: list[Cause | StatusMeaning] = [*reasons.causes.values(), *meanings]
    for each in explained:
        yield "", each.words
        yield "", each.advice
    yield "", reasons.waiting_advice
    for progress in reasons.progress.values():
        yield from (("", words) for words in progress.values())
    for log in projections().values():
        yield from (("status", status) for status in statuses_of(log))
        yield from ((TYPED_STATUS, status) for status in statuses_of(log))
        yield from (("", rule.name) for rule in log.rules)
    yield from (("", text) for text in _TEXTS_OF_DATA)
    yield from ((RECENT_DAY, day) for day in RECENT_DAYS)
    for reset in RULE_RESETS.values():
        texts = (reset.means, reset.confirmation, reset.refusal, reset.person, reset.elsewhere)
        yield from (("", text) for text in texts if text)
    yield from (("", text) for text in ResetTerms.of(["by_hand"]).means)
    yield from (("", text) for kind in (Deliverability, RetryState) for text in get_args(kind))
    yield from (("", text) for text in VALIDATION_TEMPLATES.values())
    yield from (("", HTTPStatus(status).phrase) for status in _ERROR_STATUSES)


def updated_catalogue(language: str) -> Catalog:
    """Return the catalogue of a language with exactly the messages of the sources.

    Its translations are kept. A new message is empty, and one that is gone is left out.
    """
    path = LOCALES_FOLDER / f"{language}.po"
    catalogue = read_catalogue(language) if path.exists() else Catalog(locale=language)
    catalogue.update(source_catalogue(), no_fuzzy_matching=True, update_creation_date=False)
    catalogue.obsolete.clear()
    catalogue.fuzzy = False
    return catalogue


def catalogue_text(catalogue: Catalog) -> bytes:
    """Return the file of a catalogue."""
    file = BytesIO()
    # Without numbers of lines, which change with every other edit.
    write_po(file, catalogue, width=_LINE_WIDTH, include_lineno=False, ignore_obsolete=True)
    lines = file.getvalue().splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(_UNUSED_HEADERS))


def main() -> None:
    """Update the catalogues of the languages that are named, or else of all there are."""
    for language in sys.argv[1:] or [code for code in languages() if code != SOURCE_LANGUAGE]:
        catalogue = updated_catalogue(language)
        (LOCALES_FOLDER / f"{language}.po").write_bytes(catalogue_text(catalogue))
        empty = [message for message in catalogue if message.id and not any(message.string or "")]
        print(f"{language}: {len(catalogue)} messages, {len(empty)} to translate")  # noqa: T201
        for message in empty:
            print(f"  {message.id}")  # noqa: T201


if __name__ == "__main__":
    main()
