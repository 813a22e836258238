"""What people read and hear of a page: texts and attributes, without codes and English parts."""

from __future__ import annotations

from html.parser import HTMLParser

#: Attributes that people read or hear.
READ_ATTRIBUTES = frozenset({
    "title", "aria-label", "placeholder", "alt", "data-label", "data-once",
})  # fmt: skip
_CODE = frozenset({"code", "pre", "kbd", "script", "style"})
_VOID = frozenset({"br", "hr", "img", "input", "line", "link", "meta", "rect", "wbr"})


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.texts, self._open = [], []

    @property
    def _is_left_out(self):
        return any(is_left_out for _, is_left_out in self._open)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        is_left_out = tag in _CODE or (tag != "html" and values.get("lang") == "en")
        if tag not in _VOID:
            self._open.append((tag, is_left_out))
        if not self._is_left_out:
            self.texts += [text for name, text in attributes if name in READ_ATTRIBUTES and text]

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if data.strip() and not self._is_left_out:
            self.texts.append(" ".join(data.split()))


def texts_of(page):
    """Return the texts of a page's HTML, those of attributes among them."""
    parser = _Page()
    parser.feed(page)
    parser.close()
    return parser.texts
