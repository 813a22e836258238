"""Words that people type into the search box and filters of a log, in the languages of the pages.

Everybody may type those of all languages, so that the URL of a page means the same to all. Only
days with slashes depend on who types them, and their URL has them as 2026-11-25.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from babel import Locale

from projections.queries.days import DayWords, plain_text
from projections.queries.listing import statuses_of
from projections.queries.search import TypedWords
from projections.tables import projections
from projections.web.translation import SOURCE_LANGUAGE, languages, message_in
from schemas.events import Channel

#: The context of a status: further words for it, with commas.
TYPED_STATUS: Final = "typed for the status"
#: The context of the days before today.
RECENT_DAY: Final = "day"
RECENT_DAYS: Final = ("today", "yesterday")


@cache
def words_for(locale: Locale) -> TypedWords:
    """Return the words of all languages, and the order of days with slashes of a locale."""
    months, weekdays, recent = dict[str, int](), dict[str, int](), dict[str, int]()
    fillers = set[str]()
    statuses: dict[Channel, dict[str, str]] = {"email": {}, "sms": {}}
    for language in languages():
        if language == SOURCE_LANGUAGE:
            continue
        names = Locale.parse(language)
        for width in ("wide", "abbreviated"):
            for number, name in names.months["format"][width].items():
                months |= {plain_text(name): number, plain_text(name)[:3]: number}
            for number, name in names.days["format"][width].items():
                weekdays[plain_text(name)] = number
        fillers |= set(re.findall(r"'(\w+)'", names.date_formats["long"].pattern))
        for ago, day in enumerate(RECENT_DAYS):
            recent[plain_text(message_in(language, day, RECENT_DAY))] = ago
        for log in projections().values():
            for status in statuses_of(log):
                typed = message_in(language, status, TYPED_STATUS).split(",")
                for word in (*typed, message_in(language, status, "status")):
                    statuses[log.channel].setdefault(plain_text(word), status)
    days = DayWords(
        months=months, weekdays=weekdays, recent=recent, fillers=fillers,
        is_day_first=not is_month_first(locale),
    )  # fmt: skip
    return TypedWords(days, statuses)


def is_month_first(locale: Locale) -> bool:
    """Return whether a locale writes the month before the day, as 11/20/2026."""
    pattern = locale.date_formats["short"].pattern
    return pattern.lower().find("m") < pattern.find("d") and not pattern.startswith("y")
