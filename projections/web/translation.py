"""The language of whoever reads a page: their locale, and its catalogue of messages.

English stands in the sources. Another language is a file, `locales/LANGUAGE.po`, read once.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Final

from babel import Locale, UnknownLocaleError
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.words import Words

SOURCE_LANGUAGE: Final = "en"
#: The language that somebody has chosen.
LANGUAGE_COOKIE: Final = "sendlog_language"
LOCALES_FOLDER: Final = Path(__file__).parent / "locales"
#: The forms of dates and numbers where only a language is asked for.
_USUAL_REGIONS: Final[Mapping[str, str]] = {"es": "es-419"}
#: What a browser sends may be anything; so many different ones are remembered.
_CACHED_LOCALES: Final = 256
_MAX_LANGUAGES: Final = 20
#: So many characters of a choice and of a header are read.
_MAX_TAG: Final = 35
_MAX_ACCEPTED: Final = 500


@cache
def languages() -> Mapping[str, str]:
    """Return the languages of the pages, English first: their own names by their codes."""
    codes = [SOURCE_LANGUAGE, *sorted(path.stem for path in LOCALES_FOLDER.glob("*.po"))]
    names = {code: Locale.parse(code).get_display_name(code) or code for code in codes}
    return {code: name[:1].upper() + name[1:] for code, name in names.items()}


def read_catalogue(language: str) -> Catalog:
    """Return the messages of a language as its file has them."""
    with (LOCALES_FOLDER / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


@cache
def _translations(language: str) -> NullTranslations:
    if language == SOURCE_LANGUAGE:
        return NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, read_catalogue(language))
    compiled.seek(0)
    return GNUTranslations(compiled)


@lru_cache(_CACHED_LOCALES)
def find_locale(tag: str) -> Locale | None:
    """Return the locale of a language tag, as es-US; None if the pages are not in its language."""
    language = tag.lower().replace("_", "-").partition("-")[0]
    if language not in languages():
        return None
    for known in (_USUAL_REGIONS.get(tag.lower(), tag), _USUAL_REGIONS.get(language, language)):
        try:
            return Locale.parse(known.replace("-", "_"))
        except (ValueError, UnknownLocaleError):
            continue
    return Locale.parse(language)


@lru_cache(_CACHED_LOCALES)
def preferred_tag(chosen: str, accepted: str) -> str:
    """Return the language tag of a reader: what they chose, else what their browser asks for.

    `chosen` is a language, or ""; `accepted` is the header Accept-Language (RFC 9110). Of a chosen
    language the region is that of the browser, if it names one. Without either it is "en".
    """
    tags = [tag for tag in _accepted_tags(accepted) if find_locale(tag)]
    if chosen in languages():
        return next((tag for tag in tags if tag.lower().partition("-")[0] == chosen), chosen)
    return tags[0] if tags else SOURCE_LANGUAGE


def _accepted_tags(header: str) -> list[str]:
    """Return the language tags of a header, those with the highest quality first."""
    weighted = list[tuple[float, str]]()
    for part in header.split(",")[:_MAX_LANGUAGES]:
        tag, _, quality = part.partition(";")
        try:
            weight = float(quality.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if weight > 0 and tag.strip():
            weighted.append((weight, tag.strip()))
    return [tag for _, tag in sorted(weighted, key=lambda pair: -pair[0])]


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """Somebody who reads pages: their locale, and the messages of its language."""

    locale: Locale
    catalogue: NullTranslations


@cache
def _reader_of(locale: Locale) -> Reader:
    return Reader(locale, _translations(locale.language))


_reader: ContextVar[Reader] = ContextVar("reader", default=_reader_of(Locale(SOURCE_LANGUAGE)))  # noqa: B039


def use_language(tag: str) -> None:
    """Answer this request in the language of a tag, or else in English."""
    _reader.set(_reader_of(find_locale(tag) or Locale(SOURCE_LANGUAGE)))


def current_reader() -> Reader:
    """Return who reads the page that is being made."""
    return _reader.get()


def current_locale() -> Locale:
    """Return the locale of whoever reads the page that is being made."""
    return _reader.get().locale


def gettext(text: str, /, **values: object) -> str:
    """Return a message in the reader's language, with the values of its placeholders."""
    message = _reader.get().catalogue.gettext(text) if text else text
    return message % values if values else message


def message_in(language: str, text: str, context: str = "") -> str:
    """Return a message in a language, for what is not of one reader."""
    catalogue = _translations(language)
    return catalogue.pgettext(context, text) if context else catalogue.gettext(text)


def ngettext(one: str, many: str, number: int, /, **values: object) -> str:
    """Return a message in the reader's language, in the form for a number."""
    message = _reader.get().catalogue.ngettext(one, many, number)
    return message % values if values else message


def pgettext(context: str, text: str, /) -> str:
    """Return a message in the reader's language that means what it does in a context only."""
    return _reader.get().catalogue.pgettext(context, text) if text else text


def translated(text: str) -> str:
    """Return a text in the reader's language, as far as the catalogue has it; others stay."""
    if not isinstance(text, Words):
        return gettext(text)
    values = {
        name: translated(value) if isinstance(value, Words) else value
        for name, value in text.values.items()
    }  # fmt: skip
    return gettext(text.template, **values)


def number_text(number: float, digits: int = 0) -> str:
    """Return a number as the reader writes it, with some digits after the point."""
    form = "#,##0" + ("." + "0" * digits if digits else "")
    return format_decimal(number, format=form, locale=current_locale())


class ReaderLanguage:
    """ASGI middleware: the language of each request, by its cookie or its Accept-Language."""

    def __init__(self, app: ASGIApp, programs: tuple[str, ...]) -> None:
        """`programs` are beginnings of paths whose answers are in English for everybody."""
        self._app, self._programs = app, programs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith(self._programs):
            use_language(SOURCE_LANGUAGE)
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        chosen = cookie_parser(headers.get("cookie", "")).get(LANGUAGE_COOKIE, "")
        accepted = headers.get("accept-language", "")
        use_language(preferred_tag(chosen[:_MAX_TAG], accepted[:_MAX_ACCEPTED]))

        async def send_with_language(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(raw=message["headers"])
                if answer.get("content-type", "").startswith("text/html"):
                    answer.add_vary_header("Accept-Language, Cookie")
            await send(message)

        await self._app(scope, receive, send_with_language)
