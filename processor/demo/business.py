"""A dance school run by a family: whom it writes to, how often, and what.

Everything is drawn from the `Random` passed in. Addresses are of the domains reserved for
examples (RFC 2606), numbers of the ranges that regulators keep free for fiction: +1 NPA 555 01xx
and +44 7700 900xxx.
"""

from __future__ import annotations

import unicodedata
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from schemas.events import Channel

FIRST: Final = (
    "Amélie", "Ben", "Chloe", "Dmitri", "Elena", "Farid", "Grace", "Hugo", "Ingrid", "José",
    "Keiko", "Liam", "Mia", "Noor", "Olivia", "Priya", "Quinn", "Rosa", "Sam", "Tariq", "Uma",
    "Viktor", "Wen", "Ximena", "Yusuf", "Zoë",
)  # fmt: skip
LAST: Final = (
    "Adams", "Bianchi", "Carter", "Dubois", "Evans", "Fischer", "Garcia", "Haddad", "Ivanova",
    "Jensen", "Kowalski", "Lindqvist", "Müller", "Núñez", "O'Brien", "Patel", "Rossi", "Sørensen",
    "Tanaka", "Ueda", "Valdez", "Walker", "Yilmaz", "Zhou",
)  # fmt: skip
DOMAINS: Final = ("example.com", "example.org", "example.net")
CLASSES: Final = (
    "Ballet I", "Ballet II", "Tap", "Jazz", "Hip-Hop", "Contemporary", "Toddler Tumbling",
    "Salsa for Parents", "Pointe", "Café Tango",
)  # fmt: skip
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
#: North American area codes, assigned or not, without the service codes (211, 911 ...).
AREAS: Final = tuple(area for area in range(201, 991) if area % 100 != 11)
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


class Occasion(NamedTuple):
    """A reason to write: `reach` is how many records it goes to, at least and at most.

    `shared`: one message id for all recipients (a blast), else one for each record.
    """

    weight: int
    channel: Channel
    campaign: str
    template: str
    reach: tuple[int, int] = (1, 1)
    shared: bool = False
    to: Literal["family", "staff"] = "family"


OCCASIONS: Final = (
    Occasion(24, "email", "", "Invoice {number} for {month}: {amount}"),
    Occasion(16, "email", "", "Receipt {number}, thank you {first}!"),
    Occasion(10, "email", "", "Your place in “{class_}” is confirmed"),
    Occasion(6, "email", "", "Payment overdue: invoice {number}"),
    Occasion(4, "email", "", "Staff rota, week of {day}", (6, 20), shared=True, to="staff"),
    Occasion(4, "email", "schedule", "{class_} moves to {day} {time}", (8, 25), shared=True),
    Occasion(2, "email", "newsletter", "{month} news from the studio ✨", (20, 40), shared=True),
    Occasion(1, "email", "recital", 'Tickets: "A Night in {month}"', (20, 40), shared=True),
    Occasion(2, "email", "tuition", "{month} tuition is due, {first}", (15, 40)),
    Occasion(22, "sms", "reminder", "Hi {first}, {class_} is at {time} on {day}.", (1, 4)),
    Occasion(8, "sms", "", "{first}: invoice {number} ({amount}) is due. Reply STOP to opt out."),
    Occasion(3, "sms", "cancelled", "{class_} on {day} is cancelled, sorry! 🩰 See you!", (5, 15)),
)


class Party(NamedTuple):
    """A family or staff record, with every address and number it holds."""

    record_type: str
    record_id: str
    first: str
    slug: str
    emails: tuple[str, ...]
    phones: tuple[str, ...]


class Letter(NamedTuple):
    """One message to one recipient, before anything has happened to it."""

    channel: Channel
    tenant_id: str
    message_id: str
    recipient: str
    party: Party
    body: str  # email: the subject; SMS: the text
    campaign: str


def ascii_slug(name: str) -> str:
    """Return a name as it stands in an address: 'Núñez' as 'nunez', "O'Brien" as 'obrien'."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return "".join(character for character in plain.lower() if character.isalpha())


def phone(number: int) -> str:
    """Return the `number`th reserved phone number; they start again after 60,000."""
    if number % 3 == 0:
        return f"+447700900{number // 3 % 1000:03d}"
    area, line = divmod(number // 3 * 2 + number % 3 - 1, 100)
    return f"+1{AREAS[area % 400]}55501{line:02d}"


def fresh_phone(number: int) -> str:
    """Return the `number`th number that `phone` never gives; they start again after 38,200."""
    area, line = divmod(number, 100)
    return f"+1{AREAS[400 + area % (len(AREAS) - 400)]}55501{line:02d}"


class Business:
    """The records of one tenant, and the occasions on which it writes to them."""

    def __init__(self, records: Random, traffic: Random, *, tenant: str, families: int) -> None:
        """Draw the records (a twentieth as many staff as families) from `records`.

        What is written to them is drawn from `traffic`, so that one business can go on writing.
        """
        self._rng = records
        self.tenant = tenant
        self.families = [self._party("family", "F-{}", index) for index in range(families)]
        staff = range(families, families + max(4, families // 20))
        self.staff = [self._party("staff", "S-{}", index) for index in staff]
        self._rng = traffic
        self._fresh = traffic.randrange(30_000)
        self._weights = tuple(accumulate(occasion.weight for occasion in OCCASIONS))

    def _party(self, record_type: str, id_format: str, index: int) -> Party:
        rng = self._rng
        first, last = rng.choice(FIRST), rng.choice(LAST)
        slug = f"{ascii_slug(first)}.{ascii_slug(last)}"
        emails = [f"{slug}.{index}@{rng.choice(DOMAINS)}"]
        if rng.random() < 0.45:
            emails.append(f"{ascii_slug(rng.choice(FIRST))}.{index}.2@{rng.choice(DOMAINS)}")
        if rng.random() < 0.1:
            emails.append(f"office+{ascii_slug(last)}{index}@{rng.choice(DOMAINS)}")
        phones = [phone(index * 2)]
        if rng.random() < 0.3:
            phones.append(phone(index * 2 + 1))
        record_id = id_format.format(1000 + index)
        return Party(record_type, record_id, first, slug, tuple(emails), tuple(phones))

    def fresh(self, letter: Letter) -> Letter:
        """Return the letter, sent to an address or number that its record never used before.

        What befalls it there (a hard bounce, a complaint, an opt-out) blacklists the address, so
        it must not touch later messages, whose outcome would change.
        """
        self._fresh += 1
        if letter.channel == "sms":
            recipient = fresh_phone(self._fresh)
        else:
            noise, domain = self._rng.getrandbits(16), DOMAINS[self._fresh % 3]
            recipient = f"{letter.party.slug}.{noise:04x}{self._fresh:x}@{domain}"
        return letter._replace(recipient=recipient)

    def letters(self) -> Iterator[list[Letter]]:
        """Yield, without end, all letters of one occasion."""
        rng = self._rng
        while True:
            occasion = rng.choices(OCCASIONS, cum_weights=self._weights)[0]
            people = self.staff if occasion.to == "staff" else self.families
            reach = min(rng.randint(*occasion.reach), len(people))
            parties = [rng.choice(people)] if reach == 1 else rng.sample(people, reach)
            yield list(self._written(occasion, parties))

    def _written(self, occasion: Occasion, parties: list[Party]) -> Iterator[Letter]:
        rng = self._rng
        sms, shared = occasion.channel == "sms", occasion.shared
        words = {
            "class_": rng.choice(CLASSES), "month": rng.choice(MONTHS), "day": rng.choice(DAYS),
            "time": f"{rng.randint(9, 19)}:{rng.choice(('00', '15', '30', '45'))}",
        }  # fmt: skip
        message_id = body = ""
        for party in parties:
            if not (shared and message_id):
                message_id = identifier(rng)
                body = occasion.template.format(
                    first=party.first, number=rng.randint(10_000, 99_999),
                    amount=f"${rng.randint(20, 400)}.00", **words,
                )  # fmt: skip
            for place, recipient in enumerate(party.phones if sms else party.emails):
                if sms and place:  # each number gets an SMS of its own
                    message_id = identifier(rng)
                yield Letter(
                    occasion.channel, self.tenant, message_id, recipient, party, body,
                    occasion.campaign,
                )  # fmt: skip


def identifier(rng: Random) -> str:
    """Return a random UUID (version 4)."""
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
