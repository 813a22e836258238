"""Texts for people that keep what they are made of, to be said in another language."""

from __future__ import annotations

from typing import Self


class Words(str):
    """A text in English, from a template such as "no column %(name)s" and the values in it.

    As a `str` it is what programs, logs and the command line show. Whoever speaks to people
    translates the template and puts the values in; a value may be `Words`, too. The template is a
    literal, because the catalogue of messages is made from the sources.
    """

    __slots__ = ("template", "values")

    template: str
    values: dict[str, object]

    def __new__(cls, template: str, /, **values: object) -> Self:
        """Return the text. Raises `KeyError` for a placeholder without a value."""
        text = super().__new__(cls, template % values if values else template)
        text.template, text.values = template, values
        return text
