"""The catalogues of the pages, and which language somebody reads."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from babel import Locale
from jinja2 import Environment

from projections.queries.days import canonical_day, day_of
from projections.queries.listing import Filter
from projections.queries.search import ENGLISH_WORDS, read_search
from projections.web import catalogue
from projections.web.pages import labels
from projections.web.pages.render import static_files
from projections.web.pages.typed_words import words_for
from projections.web.translation import (
    LOCALES_FOLDER,
    find_locale,
    languages,
    preferred_tag,
    read_catalogue,
    translated,
    use_language,
)
from schemas.words import Words
from tests.template_texts import unmarked_texts

TEMPLATES = Path("projections/web/templates")
PLACEHOLDER = re.compile(r"%\((\w+)\)[sr]")
TRANSLATED = [code for code in languages() if code != "en"]
TODAY = date(2026, 11, 26)  # a Thursday
UPDATE = "make locales"


def environment():
    return Environment(extensions=["jinja2.ext.i18n"], trim_blocks=True, lstrip_blocks=True)


@pytest.fixture(autouse=True)
def _english():
    yield
    use_language("en")


def forms(text):
    """Return the forms of a message or a translation."""
    return [text] if isinstance(text, str) else list(text or [""])


@pytest.mark.parametrize("name", sorted(path.name for path in TEMPLATES.glob("*.html")))
def test_every_text_of_a_template_is_in_the_catalogue(name):
    texts = unmarked_texts((TEMPLATES / name).read_text(), environment())
    assert [f"{TEMPLATES / name}:{line}: {text}" for line, text in texts] == []


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("<p>\n  Not {{ x }} marked</p>", (2, "Not marked")),
        ('<a\n title="A title">{{ x }}</a>', (1, "A title")),
        ('<i>{{ "One" if x else _("Two") }}</i>', (1, "One")),
        ('<i>{{ _("One") ~ " and two" }}</i>', (1, " and two")),
        ('<i aria-label="{{ "Remove " ~ x }}"></i>', (1, "Remove ")),
        ('{% set noun = "Some email" %}', (1, "Some email")),
        ('{{ x|default("Nothing") }}', (1, "Nothing")),
        ('{{ row("Label", x) }}', (1, "Label")),
        ("<p>{% if x %}\nsome{% endif %}</p>", (2, "some")),
    ],
)
def test_a_text_that_is_not_marked_is_found_with_its_line(template, expected):
    assert unmarked_texts(template, environment()) == [expected]


@pytest.mark.parametrize(
    "template",
    [
        '<p class="a b" id="x">{{ _("Marked") }} <code>sendlog keys</code> · Sendlog</p>',
        "{% trans %}All <b>of</b> it{% endtrans %}",
        "{% trans count=1 %}One{% pluralize %}Many{% endtrans %}",
        '<option {{ "selected" if x }} value="{{ "One" }}">{{ x }}</option>',
        '{% set path = "/logs/email" %}{{ link("/logs", name="email") }}',
    ],
)
def test_what_is_marked_or_no_language_is_not_found(template):
    assert unmarked_texts(template, environment()) == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_catalogue_has_exactly_the_messages_of_the_sources(language):
    file = (LOCALES_FOLDER / f"{language}.po").read_bytes()
    assert file == catalogue.catalogue_text(catalogue.updated_catalogue(language)), UPDATE


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_message_is_translated_with_its_placeholders(language):
    known = read_catalogue(language)
    faults = []
    for message in known:
        if not message.id:
            continue
        sources, translations = forms(message.id), forms(message.string)
        if message.fuzzy or not all(translations):
            faults.append(("not translated", message.id))
        if len(translations) != (1 if len(sources) == 1 else known.num_plurals):
            faults.append(("not all plural forms", message.id))
        wanted = set(PLACEHOLDER.findall(sources[-1]))
        for form, text in enumerate(translations):
            had = set(PLACEHOLDER.findall(text))
            # The form for one may name it in words.
            if had != wanted and not (len(sources) > 1 and form == 0 and had < wanted):
                faults.append(("other placeholders", message.id))
            if re.findall(r"</?\w+", text) != re.findall(r"</?\w+", sources[-1]):
                faults.append(("other elements", message.id))
    assert faults == []
    assert known.obsolete == {}


def test_every_table_of_labels_is_in_the_catalogue():
    tables = {
        name: table for name, table in vars(labels).items()
        if isinstance(table, dict) and all(isinstance(text, str) for text in table.values())
        and name not in {"_COLUMN_NAMES", "__annotations__"}
    }  # fmt: skip
    known = {text for _, text in labels.label_messages()}
    assert len(tables) >= 11
    assert [name for name, table in tables.items() if not known.issuperset(table.values())] == []


@pytest.mark.parametrize(
    ("chosen", "accepted", "expected"),
    [
        ("", "", "en"), ("", "en-US,en;q=0.9", "en-US"), ("", "es-MX,es;q=0.9,en;q=0.8", "es-MX"),
        ("", "de-DE,de;q=0.9,es;q=0.5,en;q=0.4", "es"), ("", "en;q=0.2, es;q=0.8", "es"),
        ("", "es;q=0,en", "en"), ("", "de", "en"), ("", "es;q=much", "en"), ("", "*", "en"),
        ("es", "en-US,en", "es"), ("en", "es-MX", "en"), ("es", "en-US,es-US;q=0.5", "es-US"),
        ("fr", "es", "es"), ("../es", "", "en"), ("", "x" * 5000, "en"),
    ],
)  # fmt: skip
def test_the_choice_counts_then_what_the_browser_asks_for_most_then_english(
    chosen, accepted, expected
):
    assert preferred_tag(chosen, accepted) == expected


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("es", "es_419"), ("es-MX", "es_MX"), ("ES-us", "es_US"), ("es-ZZ", "es_ES"),
        ("en", "en"), ("en-GB", "en_GB"), ("en-x-y", "en"), ("es-419", "es_419"),
    ],
)  # fmt: skip
def test_a_language_of_no_country_has_a_form_too(tag, expected):
    assert str(find_locale(tag)) == expected


def test_a_language_that_the_pages_are_not_in_has_no_locale():
    assert find_locale("fr-FR") is None
    assert list(languages()) == ["en", *TRANSLATED]
    assert languages()["es"] == "Español"


def test_words_are_english_until_somebody_translates_them():
    text = Words("%(parameter)s: %(detail)s", parameter="x", detail=Words("it is empty"))
    assert text == "x: it is empty"
    assert translated(text) == "x: it is empty"
    use_language("es-US")
    assert translated(text) == "x: está vacío"
    assert translated("it is empty") == "está vacío"
    assert translated("what a provider wrote, 100 %") == "what a provider wrote, 100 %"


def test_the_words_of_a_script_come_with_it_in_all_languages():
    script = static_files()["embed.js"][0].decode()
    assert '"Email Log": "Registro de correos"' in script
    assert "const WORDS = {};" not in script


@pytest.mark.parametrize(
    ("channel", "text", "status"),
    [
        ("email", "Rebotado", "Bounce"), ("email", "entregado", "Delivery"),
        ("sms", "entregada", "Delivered"), ("sms", "no entregado", "Undelivered"),
        ("email", "NO VÁLIDO", "Invalid"), ("email", "no valido", "Invalid"),
        ("sms", "leído", "Received"), ("sms", "en cola", "Queued"), ("email", "bounced", "Bounce"),
        ("email", "devuelto", "Bounce"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("reader", ["es_US", "en_US"])
def test_a_status_is_found_by_its_name_in_any_language(channel, text, status, reader):
    words = words_for(Locale.parse(reader))
    assert read_search(channel, text, TODAY, words=words) == ((Filter("status", "=", status),), "")


def test_only_pages_know_other_languages():
    assert read_search("email", "rebotado", TODAY) == ((), "rebotado")
    assert day_of("25 ene", TODAY) is None
    assert day_of("hoy", TODAY, ENGLISH_WORDS.days) is None


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("hoy", TODAY), ("Ayer", date(2026, 11, 25)), ("miércoles", date(2026, 11, 25)),
        ("miercoles", date(2026, 11, 25)), ("25 de noviembre de 2026", date(2026, 11, 25)),
        ("25 nov", date(2026, 11, 25)), ("3 ene 2026", date(2026, 1, 3)),
        ("9 sept 2026", date(2026, 9, 9)), ("20/11/2026", date(2026, 11, 20)),
        ("11/12/2025", date(2025, 12, 11)), ("yesterday", date(2026, 11, 25)),
        ("Nov 25th 2026", date(2026, 11, 25)), ("2026-11-25", date(2026, 11, 25)),
        ("11/20/2026", None), ("25 foo", None), ("de", None),
    ],
)  # fmt: skip
def test_days_as_they_are_typed_in_spanish(text, day):
    assert day_of(text, TODAY, words_for(Locale("es", "US")).days) == day


@pytest.mark.parametrize(
    ("reader", "day"),
    [("en", "2026-11-12"), ("en_US", "2026-11-12"), ("en_GB", "2026-12-11"),
     ("es_US", "2026-12-11")],
)  # fmt: skip
def test_a_day_with_slashes_becomes_one_that_all_readers_read_alike(reader, day):
    days = words_for(Locale.parse(reader)).days
    assert canonical_day("11/12/2026", TODAY, days) == day
    assert canonical_day("40/40/2026", TODAY, days) == "40/40/2026"
    assert canonical_day("25 Nov", TODAY, days) == "25 Nov"
