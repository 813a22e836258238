"""A dance school: who receives its messages, how often, and what they say.

Everything is drawn from the `Random` passed in. Addresses are in the domains reserved for examples
(RFC 2606), numbers in the ranges reserved for fiction: +1 NPA 555 01xx and +44 7700 900xxx.
"""

from __future__ import annotations

import unicodedata
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from schemas.events import Channel

FIRST_NAMES: Final = (
    "Amélie", "Ben", "Chloe", "Dmitri", "Elena", "Farid", "Grace", "Hugo", "Ingrid", "José",
    "Keiko", "Liam", "Mia", "Noor", "Olivia", "Priya", "Quinn", "Rosa", "Sam", "Tariq", "Uma",
    "Viktor", "Wen", "Ximena", "Yusuf", "Zoë",
)  # fmt: skip
LAST_NAMES: Final = (
    "Adams", "Bianchi", "Carter", "Dubois", "Evans", "Fischer", "Garcia", "Haddad", "Ivanova",
    "Jensen", "Kowalski", "Lindqvist", "Müller", "Núñez", "O'Brien", "Patel", "Rossi", "Sørensen",
    "Tanaka", "Ueda", "Valdez", "Walker", "Yilmaz", "Zhou",
)  # fmt: skip
EXAMPLE_DOMAINS: Final = ("example.com", "example.org", "example.net")
CLASS_NAMES: Final = (
    "Ballet I", "Ballet II", "Tap", "Jazz", "Hip-Hop", "Contemporary", "Toddler Tumbling",
    "Salsa for Parents", "Pointe", "Café Tango",
)  # fmt: skip
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
#: North American area codes, assigned or not, without the service codes (211, 911 ...).
AREA_CODES: Final = tuple(area for area in range(201, 991) if area % 100 != 11)
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


class Occasion(NamedTuple):
    """A reason to write: `reach` is the smallest and the largest number of records it goes to.

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
    """A family or staff record, with all its addresses and numbers."""

    record_type: str
    record_id: str
    name: str
    first: str
    slug: str
    emails: tuple[str, ...]
    phones: tuple[str, ...]


class OutgoingMessage(NamedTuple):
    """One message to one recipient, as it is sent."""

    channel: Channel
    tenant_id: str
    message_id: str
    recipient: str
    party: Party
    body: str  # email: the subject; SMS: the text
    campaign: str


def ascii_slug(name: str) -> str:
    """Return a name for use in an address: 'nunez' for 'Núñez', 'obrien' for "O'Brien"."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return "".join(character for character in plain.lower() if character.isalpha())


def reserved_phone(number: int) -> str:
    """Return the `number`th reserved phone number; they repeat after 60,000."""
    if number % 3 == 0:
        return f"+447700900{number // 3 % 1000:03d}"
    area, line = divmod(number // 3 * 2 + number % 3 - 1, 100)
    return f"+1{AREA_CODES[area % 400]}55501{line:02d}"


def fresh_phone(number: int) -> str:
    """Return the `number`th number `reserved_phone` never returns; they repeat after 38,200."""
    area, line = divmod(number, 100)
    return f"+1{AREA_CODES[400 + area % (len(AREA_CODES) - 400)]}55501{line:02d}"


class Business:
    """The records of one tenant, and the occasions on which it writes to them."""

    def __init__(self, records: Random, traffic: Random, *, tenant: str, families: int) -> None:
        """Draw the records from `records`: a twentieth as many staff as families.

        Messages are drawn from `traffic`, so that the same business can send more of them.
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
        first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
        slug = f"{ascii_slug(first)}.{ascii_slug(last)}"
        emails = [f"{slug}.{index}@{rng.choice(EXAMPLE_DOMAINS)}"]
        if rng.random() < 0.45:
            partner = ascii_slug(rng.choice(FIRST_NAMES))
            emails.append(f"{partner}.{index}.2@{rng.choice(EXAMPLE_DOMAINS)}")
        if rng.random() < 0.1:
            emails.append(f"office+{ascii_slug(last)}{index}@{rng.choice(EXAMPLE_DOMAINS)}")
        phones = [reserved_phone(index * 2)]
        if rng.random() < 0.3:
            phones.append(reserved_phone(index * 2 + 1))
        record_id = id_format.format(1000 + index)
        name = f"The {last} family" if record_type == "family" else f"{first} {last}"
        return Party(record_type, record_id, name, first, slug, tuple(emails), tuple(phones))

    def with_fresh_address(self, message: OutgoingMessage) -> OutgoingMessage:
        """Return the message to an address or number that was never used before.

        A hard bounce, a complaint or an opt-out suppresses the address, which would change the
        outcome of later messages to it.
        """
        self._fresh += 1
        if message.channel == "sms":
            recipient = fresh_phone(self._fresh)
        else:
            noise, domain = self._rng.getrandbits(16), EXAMPLE_DOMAINS[self._fresh % 3]
            recipient = f"{message.party.slug}.{noise:04x}{self._fresh:x}@{domain}"
        return message._replace(recipient=recipient)

    def mailings(self) -> Iterator[list[OutgoingMessage]]:
        """Yield without end the messages of one occasion."""
        rng = self._rng
        while True:
            occasion = rng.choices(OCCASIONS, cum_weights=self._weights)[0]
            people = self.staff if occasion.to == "staff" else self.families
            reach = min(rng.randint(*occasion.reach), len(people))
            parties = [rng.choice(people)] if reach == 1 else rng.sample(people, reach)
            yield list(self._mailing(occasion, parties))

    def _mailing(self, occasion: Occasion, parties: list[Party]) -> Iterator[OutgoingMessage]:
        rng = self._rng
        sms, shared = occasion.channel == "sms", occasion.shared
        words = {
            "class_": rng.choice(CLASS_NAMES), "month": rng.choice(MONTHS), "day": rng.choice(DAYS),
            "time": f"{rng.randint(9, 19)}:{rng.choice(('00', '15', '30', '45'))}",
        }  # fmt: skip
        message_id = body = ""
        for party in parties:
            if not (shared and message_id):
                message_id = random_uuid(rng)
                body = occasion.template.format(
                    first=party.first, number=rng.randint(10_000, 99_999),
                    amount=f"${rng.randint(20, 400)}.00", **words,
                )  # fmt: skip
            for place, recipient in enumerate(party.phones if sms else party.emails):
                if sms and place:  # each number gets an SMS of its own
                    message_id = random_uuid(rng)
                yield OutgoingMessage(
                    occasion.channel, self.tenant, message_id, recipient, party, body,
                    occasion.campaign,
                )  # fmt: skip


def random_uuid(rng: Random) -> str:
    """Return a random UUID (version 4)."""
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
