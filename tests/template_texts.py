"""Texts of a template that people would see and that are not in the catalogue, by their lines."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

from jinja2 import nodes

#: What is the same in every language.
NAMES = frozenset({"Sendlog", "UTC", "Enter", "sk_…", "CSV", "NDJSON", "Parquet"})
#: Attributes that people read or hear.
_ATTRIBUTES = frozenset({
    "title", "aria-label", "aria-description", "aria-roledescription", "placeholder", "alt",
    "data-label", "label",
})  # fmt: skip
#: Elements whose text is not language: commands, codes, scripts.
_CODE = frozenset({"code", "pre", "kbd", "script", "style"})
_GETTEXT = frozenset({"_", "gettext", "ngettext", "pgettext", "npgettext"})
_WORD = re.compile(r"[^\W\d_]{2,}")
_IN_TAG: Final = re.compile(r"<[^<>]*$")
_IN_READ_ATTRIBUTE: Final = re.compile(rf'({"|".join(_ATTRIBUTES)})="[^"]*$')
#: What an expression gives to others, and people do not see: names, paths, classes, CSS selectors.
_IDENTIFIER = re.compile(r"[a-z0-9_/#?=&.:,;<>~+%-]*( s-)?|#[A-Za-z-]+")


def unmarked_texts(source, environment):
    """Return (line, text) of each text of a template that no translator gets."""
    html, source = _parts(source, environment)
    found = [*_in_html(html), *_in_expressions(environment.parse(source))]
    return sorted({(line, text) for line, text in found if _is_language(text)})


def _parts(source, environment):
    """Return a template's HTML, and the template without expressions that only tags have.

    Both have the lines of the source. What is in a translation is left out of the HTML.
    """
    html, rest, in_block, translates, drops, words = "", "", False, False, False, []
    for _line, kind, value in environment.lex(source):
        if kind == "block_begin":
            in_block, words = True, []
        elif kind == "block_end":
            in_block = False
            translates = words[:1] == ["trans"] or (translates and words[:1] == ["pluralize"])
        elif in_block and kind == "name":
            words.append(value)
        elif kind == "variable_begin":
            drops = bool(_IN_TAG.search(html)) and not _IN_READ_ATTRIBUTE.search(html)
        html += value if kind == "data" and not translates else "\n" * value.count("\n")
        rest += "\n" * value.count("\n") if drops else value
        drops = drops and kind != "variable_end"
    return html, rest


def _is_language(text):
    for name in NAMES:
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "", text)
    return bool(_WORD.search(text))


class _Html(HTMLParser):
    def __init__(self):
        super().__init__()
        self.texts, self._open = [], []

    def handle_starttag(self, tag, attributes):
        if tag in _CODE:
            self._open.append(tag)
        self.texts += [
            (self.getpos()[0], value) for name, value in attributes if name in _ATTRIBUTES and value
        ]

    def handle_endtag(self, tag):
        if self._open and tag == self._open[-1]:
            self._open.pop()

    def handle_data(self, data):
        if not self._open:
            start = len(data) - len(data.lstrip())
            line = self.getpos()[0] + data[:start].count("\n")
            self.texts.append((line, " ".join(data.split())))


def _in_html(html):
    parser = _Html()
    parser.feed(html)
    parser.close()
    return parser.texts


def _in_expressions(tree):
    """Yield the texts in expressions that come out, or that a macro or a variable is given."""
    for output in tree.find_all(nodes.Output):
        for node in output.nodes:
            yield from _shown(node)
    for assignment in tree.find_all(nodes.Assign):
        yield from _identifierless(_shown(assignment.node))
    for call in tree.find_all(nodes.Call):
        if not _is_gettext(call):
            arguments = [*call.args, *(keyword.value for keyword in call.kwargs)]
            for argument in arguments:
                yield from _identifierless(_shown(argument))
    for macro in tree.find_all(nodes.Macro):
        for default in macro.defaults:
            yield from _shown(default)


def _identifierless(texts):
    return ((line, text) for line, text in texts if not re.fullmatch(_IDENTIFIER, text))


def _is_gettext(node):
    return (
        isinstance(node, nodes.Call)
        and isinstance(node.node, nodes.Name)
        and node.node.name in _GETTEXT
    )


def _shown(node):
    """Yield the constants that become a part of what an expression gives."""
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        yield node.lineno, node.value
    for part in _PARTS.get(type(node), lambda _: [])(node):
        if part is not None:
            yield from _shown(part)


def _both(node):
    return [node.left, node.right]


#: The parts of an expression of which something may come out.
_PARTS = {
    nodes.CondExpr: lambda node: [node.expr1, node.expr2],
    nodes.Concat: lambda node: node.nodes,
    nodes.List: lambda node: node.items,
    nodes.Tuple: lambda node: node.items,
    nodes.Dict: lambda node: [pair.value for pair in node.items],
    nodes.Or: _both,
    nodes.And: _both,
    nodes.Add: _both,
    nodes.Getitem: lambda node: [node.node],
    nodes.Getattr: lambda node: [node.node],
    nodes.Filter: lambda node: [node.node, *(node.args if node.name == "default" else [])],
}
