"""Templates rendered as answers, and the filters that make any value harmless text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from hashlib import blake2b
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from projections.queries.plain_reasons import plain_reason
from projections.web.pages import labels
from projections.web.pages.auth import Frame, PageCaller
from projections.web.pages.log_columns import cell_value
from projections.web.pages.times import (
    NO_VALUE,
    date_element,
    medium_day,
    short_day,
    time_element,
    times_for,
)
from projections.web.problems import ProblemError
from projections.web.translation import (
    current_locale,
    gettext,
    languages,
    message_in,
    ngettext,
    number_text,
    pgettext,
    translated,
)
from schemas.addresses import shown_address
from schemas.decisions import SUPPRESSION_RULES
from schemas.resets import PROVIDER_LISTS, ResetTerms

#: Rows of a page of a list.
PAGE_ROWS: Final = 50
_WEB_FOLDER: Final = Path(__file__).parents[1]
#: Only our own scripts, styles and pictures; nothing inline.
_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors "
)
#: Control characters become their pictures, because HTML cannot hold NUL. Characters that change
#: the direction of writing become their names, because they can make a text look like another.
_CONTROL_PICTURES: Final[Mapping[int, int | str]] = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}, 0x7F: 0x2421,
    **{code: f"⟨U+{code:X}⟩" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}  # fmt: skip
_MEDIA_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
#: Where a script gets its messages, and a message in it.
_NO_WORDS: Final = b"const WORDS = {};"
_SCRIPT_MESSAGE: Final = re.compile(rb'gettext\("([^"\\]+)"\)')
_ISOLATED: Final = Markup("<bdi>")
_END_ISOLATED: Final = Markup("</bdi>")
#: A longer text is cut.
_EXCERPT_LENGTH: Final = 140


def render_page(
    template: str, caller: PageCaller | None, *, status: int = HTTPStatus.OK,
    frame: Frame | None = None, **context: Any,
) -> HTMLResponse:  # fmt: skip
    """Return the answer of a template; `caller` is None on pages without a session.

    `frame` is that of the caller, and is needed only without one.
    """
    frame = caller.frame if caller else frame
    with times_for(caller):
        html = (
            _environment()
            .get_template(f"{template}.html")
            .render(page_caller=caller, frame=frame, **context)
        )
    headers = {
        "Content-Security-Policy": _PAGE_POLICY + (" ".join(frame.origins) if frame else "'none'"),
        # The URL of a frame has its token.
        "Referrer-Policy": "no-referrer" if frame else "same-origin",
    }
    return HTMLResponse(html, status_code=status, headers=headers)


def sentence(problem: ProblemError | None) -> str:
    """Return what is wrong, without the names of fields; "" if nothing is."""
    if problem is None:
        return ""
    text = "; ".join(translated(error.detail) for error in problem.errors)
    text = text or translated(problem.detail)
    return text[:1].upper() + text[1:]


def problem_text(problem: ProblemError | None) -> str:
    """Return what is wrong, with the names of parameters; "" if nothing is."""
    if problem is None:
        return ""
    named = (f"{error.parameter}: {translated(error.detail)}" for error in problem.errors)
    return "; ".join(named) or translated(problem.detail)


def visible_text(value: object) -> str:
    """Return a value as text in which control characters are visible."""
    return str(value).translate(_CONTROL_PICTURES)


def excerpt(value: object, length: int = _EXCERPT_LENGTH) -> Markup:
    """Return the beginning of a text, isolated from the direction of writing around it."""
    text = visible_text(value)
    # A sum escapes as a format does, in a third of the time; a page has some hundred of them.
    return _ISOLATED + (text if len(text) <= length else text[:length] + "…") + _END_ISOLATED


def address_excerpt(value: str, length: int = 64) -> Markup:
    """Return the beginning of an address as people write it; a line may break after its @."""
    return excerpt(shown_address(value), length).replace("@", Markup("@<wbr>"))


def expandable_text(value: object, length: int = _EXCERPT_LENGTH) -> Markup:
    """Return a text; of a long one the beginning, which opens to the whole."""
    text = visible_text(value)
    if not text:
        return NO_VALUE
    if len(text) <= length:
        return excerpt(text, length)
    return Markup("<details class=long><summary>{}</summary><bdi>{}</bdi></details>").format(
        excerpt(text, length), text
    )


def detail_element(value: Any) -> Markup:
    """Return a value of any type: a time to the second, or a text."""
    if isinstance(value, datetime):
        return time_element(value, seconds=True)
    return expandable_text(value)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_WEB_FOLDER / "templates"), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )  # fmt: skip
    filters = (
        excerpt, expandable_text, address_excerpt, visible_text, time_element, date_element,
        detail_element, labels.column_name, labels.short_number, labels.time_span_text,
        labels.rule_text, labels.status_text, labels.change_text, shown_address, cell_value,
        short_day, medium_day, translated,
    )  # fmt: skip
    environment.filters |= {filter_.__name__: filter_ for filter_ in filters}
    environment.filters["number"] = number_text
    environment.globals |= {
        "labels": labels, "plain_reason": plain_reason, "suppression_rules": SUPPRESSION_RULES,
        "reset_terms": ResetTerms.of, "provider_lists": PROVIDER_LISTS,
        "static_url": _static_url, "reader_language": _reader_language,
    }  # fmt: skip
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        gettext, ngettext, newstyle=True, pgettext=pgettext
    )
    return environment


@cache
def static_files() -> Mapping[str, tuple[bytes, str]]:
    """Return the bytes and the media type of each static file, by its name."""
    return {
        path.name: (_with_words(path.read_bytes()), _MEDIA_TYPES[path.suffix])
        for path in sorted((_WEB_FOLDER / "static").iterdir())
        if path.suffix in _MEDIA_TYPES
    }


def _with_words(content: bytes) -> bytes:
    """Return a file with its messages in all languages, if it is a script that has some."""
    if _NO_WORDS not in content:
        return content
    texts = [text.decode() for text in _SCRIPT_MESSAGE.findall(content)]
    words = {
        language: {text: message_in(language, text) for text in texts} for language in languages()
    }
    return content.replace(_NO_WORDS, b"const WORDS = " + json.dumps(words).encode() + b";")


def static_version(name: str) -> str:
    """Return a hash of a static file."""
    return blake2b(static_files()[name][0], digest_size=6).hexdigest()


def _reader_language() -> str:
    return current_locale().language


def _static_url(name: str) -> str:
    return f"/static/{name}?v={static_version(name)}"
