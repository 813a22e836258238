"""Templates become answers; every value is shown as harmless text, whatever is in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from projections.web.pages import labels
from projections.web.pages.auth import Viewer
from projections.web.row_models import iso

_HERE: Final = Path(__file__).parents[1]
#: Nothing but our own scripts, styles and pictures; nothing inline.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
}
#: Control characters as their pictures, for NUL is no character that a page can hold; and those
#: that turn the direction of writing by name, for with them a text can look like another.
_SEEN: Final[Mapping[int, int | str]] = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}, 0x7F: 0x2421,
    **{code: f"⟨U+{code:X}⟩" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}  # fmt: skip
_MEDIA: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
#: Characters of a text that are shown at once.
_MOST: Final = 140


def page(
    template: str, viewer: Viewer | None, *, status: int = HTTPStatus.OK, **context: Any
) -> HTMLResponse:
    """Return a page made of a template; `viewer` is who looks, None: nobody signed in."""
    text = _environment().get_template(f"{template}.html").render(viewer=viewer, **context)
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def visible(value: object) -> str:
    """Return a value as text, with its control characters to be seen."""
    return str(value).translate(_SEEN)


def brief(value: object, most: int = _MOST) -> Markup:
    """Return the beginning of a text, kept to its own direction of writing."""
    text = visible(value)
    return Markup("<bdi>{}</bdi>").format(text if len(text) <= most else text[:most] + "…")


def whom(value: object, most: int = 64) -> Markup:
    """Return an address, which may be broken after its @."""
    return brief(value, most).replace("@", Markup("@<wbr>"))


def whole(value: object, most: int = _MOST) -> Markup:
    """Return a text; of a long one the beginning, and the whole of it on demand."""
    text = visible(value)
    if not text:
        return Markup('<span class="none">—</span>')
    if len(text) <= most:
        return brief(text)
    return Markup("<details class=long><summary>{}</summary><bdi>{}</bdi></details>").format(
        brief(text, most), text
    )


def moment(time: datetime | None, *, seconds: bool = False) -> Markup:
    """Return a time in UTC as people read it, and as programs do."""
    if time is None:
        return Markup('<span class="none">—</span>')
    time = time.astimezone(UTC)
    shown = f"{time.day} {time:%b %Y, %H:%M:%S}" if seconds else f"{time.day} {time:%b %Y, %H:%M}"
    return Markup('<time datetime="{}">{}</time>').format(iso(time), shown)


def day(time: datetime) -> Markup:
    """Return the day of a time, as "3 March 2026"."""
    return Markup('<time datetime="{}">{}</time>').format(iso(time), f"{time.day} {time:%B %Y}")


def detail(value: Any) -> Markup:
    """Return a particular of whatever type."""
    return moment(value, seconds=True) if isinstance(value, datetime) else whole(value)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "brief": brief, "whole": whole, "whom": whom, "visible": visible, "moment": moment,
        "day": day, "detail": detail, "column": labels.column, "count": labels.count,
        "duration": labels.duration,
    }  # fmt: skip
    environment.globals |= {"words": labels, "asset": _asset}
    return environment


@cache
def assets() -> Mapping[str, tuple[bytes, str]]:
    """Return the files that pages load by their name: their bytes and media type."""
    return {
        path.name: (path.read_bytes(), _MEDIA[path.suffix])
        for path in sorted((_HERE / "static").iterdir())
        if path.suffix in _MEDIA
    }


def version(name: str) -> str:
    """Return what changes when the file does."""
    return blake2b(assets()[name][0], digest_size=6).hexdigest()


def _asset(name: str) -> str:
    return f"/static/{name}?v={version(name)}"
