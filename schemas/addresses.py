"""Addresses: of a tenant, on a channel, in the one form in which they are compared.

An email address is bare, NFC and lower-cased, its domain an A-label of IDNA (UTS 46); a phone
number is E.164. Whatever is neither keeps the form in which it came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Final, NamedTuple
from unicodedata import normalize

import idna
import phonenumbers
from phonenumbers.phonemetadata import PhoneMetadata

from schemas.errors import ExplainedError
from schemas.events import MAX_RECIPIENT_CHARACTERS, Channel
from schemas.words import Words

#: Distinct addresses whose form is kept: a message has several events, and a recipient messages.
_CACHED_FORMS: Final = 65_536
_NUMBER_SEPARATORS: Final = re.compile(r"[\s().\-/]+")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_ASCII_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|\[[0-9a-z.:]+\]")
#: What nearly all addresses are, and their own normal form.
_PLAIN_EMAIL: Final = re.compile(rf"[a-z0-9!#$%&'*+/=?^_`{{|}}~.-]+@{_LABEL}(?:\.{_LABEL})*")
#: Between characters that no address has, and without what ends a sentence.
#: What stands between addresses in a text, and what may end a sentence behind one.
_BETWEEN_ADDRESSES: Final = re.compile(r"[\s<>()\[\]\";:,]+")
_SENTENCE_ENDS: Final = ".!?'"
_UNQUOTED_NAME: Final = re.compile(r"[^\s\x00-\x1f\x7f<>@\"]+(?:@[^\s\x00-\x1f\x7f<>@\"]+)*")
_QUOTED_NAME: Final = re.compile(r'"[^"\x00-\x1f\x7f]+"')
_A_LABEL_PREFIX: Final = "xn--"
#: The domain of what stands in for the address of a person who was forgotten, on both channels. No
#: mail reaches it (RFC 2606).
FORGOTTEN_DOMAIN: Final = "forgotten.invalid"
_CALLING_CODES: Final = {
    str(code): regions for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()
}
#: A national prefix that is digits, or one of several.
_PLAIN_PREFIX: Final = re.compile(r"(?:[0-9]+(?:\|[0-9]+)*)?")
_WRONG_LENGTH: Final = Words("it is too short or too long for its country")
_NUMBER_ERRORS: Final = {
    phonenumbers.NumberParseException.INVALID_COUNTRY_CODE: Words(
        "no country has its country code"
    ),
    phonenumbers.NumberParseException.NOT_A_NUMBER: Words("it is no number"),
}


class AddressError(ExplainedError, ValueError):
    """A text is no email address or phone number; its own text says why."""


class Address(NamedTuple):
    """An email address or phone number of one tenant, which suppressions and retries are about."""

    tenant_id: str
    channel: Channel
    address: str

    @property
    def key(self) -> str:
        """The key of `delivery.policy` and `delivery.suppressions`, as "acme|email|a@example.com".

        A bar in a tenant's name is escaped, so that no two addresses have one key.
        """
        tenant = self.tenant_id.replace("%", "%25").replace("|", "%7C")
        return f"{tenant}|{self.channel}|{self.address}"

    @classmethod
    def parse(cls, key: str) -> Address:
        """Return the address of a `key`. Raises `ValueError` if it is no key."""
        match key.split("|", 2):
            case [tenant, ("email" | "sms") as channel, address]:
                tenant = tenant.replace("%7C", "|").replace("%25", "%")
                return cls(tenant, channel, address)
        raise ValueError(f"{key!r} is no key of an address; write TENANT|email|ADDRESS")


@dataclass(frozen=True, slots=True)
class NumberRegions:
    """The country of numbers that name none, as GB, by tenant; '': such a number is none."""

    default: str = ""
    by_tenant: Mapping[str, str] = field(default_factory=dict)

    def of(self, tenant: str) -> str:
        """Return the region of a tenant."""
        return self.by_tenant.get(tenant, self.default)


class NormalForm(NamedTuple):
    """An address in its normal form; or as it came, and why it is none."""

    address: str
    error: str = ""


@lru_cache(_CACHED_FORMS)
def normal_form(channel: Channel, text: str, region: str = "") -> NormalForm:
    """Return the normal form of an address; `region` is that of numbers without a country.

    "Ann <ANN@bücher.example>" is ann@xn--bcher-kva.example, and "+44 (20) 7946-0018" is
    +442079460018. The normal form of a normal form is itself. Nothing at all is no error.
    """
    text = text.strip()
    if not text:
        return NormalForm("")
    try:
        return NormalForm(_in_normal_form(channel, text, region))
    except AddressError as error:
        return NormalForm(_as_it_came(channel, text), str(error))


def is_pseudonym(address: str) -> bool:
    """Tell whether an address stands in for that of a person who was forgotten."""
    return address.endswith(f"@{FORGOTTEN_DOMAIN}")


def _in_normal_form(channel: Channel, text: str, region: str) -> str:
    """Return the normal form of an address. Raises `AddressError` with `Words` if it is none."""
    if is_pseudonym(text):
        return text
    address = _email(text) if channel == "email" else _number(text, region)
    if len(address) > MAX_RECIPIENT_CHARACTERS:
        raise AddressError(
            Words("it is longer than %(most)s characters", most=MAX_RECIPIENT_CHARACTERS)
        )
    return address


@cache
def plain_pattern(channel: Channel) -> str:
    """Return a pattern of addresses that are surely their own normal form: of nearly all.

    It is written for RE2, too, to test a whole column at once.
    """
    if channel == "email":
        return f"^{_PLAIN_EMAIL.pattern}$"
    countries = []
    for code in _CALLING_CODES:
        prefix, lengths = _numbering(code)
        if _PLAIN_PREFIX.fullmatch(prefix):
            begins = {part[:1] for part in prefix.split("|")}
            first = "".join(digit for digit in "0123456789" if digit not in begins)
            rest = "|".join(f"[0-9]{{{length - 1}}}" for length in lengths)
            countries.append(f"{code}[{first}](?:{rest})")
    return rf"^\+(?:{'|'.join(countries)})$"


def normalise_address(channel: Channel, text: str, region: str = "") -> str:
    """Return an address as `normal_form` does, whether it is one or not."""
    return normal_form(channel, text, region).address


def parse_address(channel: Channel, text: str, region: str = "") -> str:
    """Return the normal form of an address. Raises `AddressError` if it is none."""
    try:
        if text.strip():
            return _in_normal_form(channel, text.strip(), region)
        why = Words("it is empty")
    except AddressError as error:
        why = error.args[0]
    typed = text.strip()[:100]
    if channel == "email":
        raise AddressError(Words("%(text)r is not an email address: %(why)s", text=typed, why=why))
    raise AddressError(
        Words("%(text)r is not a phone number, as +442079460018: %(why)s", text=typed, why=why)
    )


def shown_address(address: str) -> str:
    """Return an address as people write it: with the letters of its domain."""
    name, at, domain = address.rpartition("@")
    if _A_LABEL_PREFIX not in domain:
        return address
    try:
        return f"{name}{at}{idna.decode(domain)}"
    except UnicodeError:
        return address


def address_parts(channel: Channel, text: str) -> tuple[str, ...]:
    """Return how a part of an address may stand in a normal form; for a search, at least one."""
    text = normalize("NFC", text.strip()).lower()
    if channel == "sms":
        digits = _NUMBER_SEPARATORS.sub("", text)
        return tuple(dict.fromkeys((text, digits or text)))
    name, at, domain = text.rpartition("@")
    try:
        return tuple(dict.fromkeys((text, f"{name}{at}{_domain(domain)}")))
    except AddressError:
        return (text,)


def addresses_in(text: str) -> frozenset[str]:
    """Return the whole email addresses that stand in a text, in lower case."""
    # Word by word: one pattern for an address in a text takes a time that grows with its square.
    words = (word.rstrip(_SENTENCE_ENDS) for word in _BETWEEN_ADDRESSES.split(text))
    return frozenset(word.lower() for word in words if "@" in word[1:-1])


def bare_address(text: str) -> str:
    """Return an address without a display name: `a@x.com` for `Ann <a@x.com>`."""
    if "<" in text:
        return text[text.rfind("<") + 1 :].partition(">")[0]
    return text


def _email(text: str) -> str:
    text = bare_address(text).strip().lower()
    if _PLAIN_EMAIL.fullmatch(text):
        return text
    # Lower case may take characters apart, and composing them gives no capital.
    name, at, domain = normalize("NFC", text).lower().rpartition("@")
    name = normalize("NFC", name)
    if not at or not name or not domain:
        raise AddressError(Words("it needs a name, an @ and a domain"))
    if not (_UNQUOTED_NAME.fullmatch(name) or _QUOTED_NAME.fullmatch(name)):
        raise AddressError(Words("there are spaces or signs in it that an address cannot have"))
    return f"{name}@{_domain(domain)}"


def _domain(domain: str) -> str:
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except UnicodeError:
            raise AddressError(Words("its domain is no internet domain")) from None
    if not _ASCII_DOMAIN.fullmatch(domain):
        raise AddressError(Words("its domain is no internet domain"))
    return domain


def _number(text: str, region: str) -> str:
    if _is_plain_number(text):
        return text
    digits = _NUMBER_SEPARATORS.sub("", text)
    if digits.startswith("00"):
        text = f"+{digits[2:]}"
    try:
        number = phonenumbers.parse(text, region or None)
    except phonenumbers.NumberParseException as error:
        if error.error_type == error.INVALID_COUNTRY_CODE and not text.startswith("+"):
            raise AddressError(
                Words("it names no country; write it with + and a country code")
            ) from None
        raise AddressError(_NUMBER_ERRORS.get(error.error_type, _WRONG_LENGTH)) from None
    if not phonenumbers.is_possible_number(number):
        raise AddressError(_WRONG_LENGTH)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _is_plain_number(text: str) -> bool:
    """Tell whether a number is E.164 surely, for a fraction of what reading it takes."""
    if text[:1] != "+":
        return False
    patterns = (_numbers_of(text[1:end]) for end in (2, 3, 4))
    return any(pattern and pattern.fullmatch(text) for pattern in patterns)


@cache
def _numbers_of(calling_code: str) -> re.Pattern[str] | None:
    """Return the pattern of a calling code's numbers that begin with no national prefix."""
    if calling_code not in _CALLING_CODES:
        return None
    prefix, lengths = _numbering(calling_code)
    rest = "|".join(f"[0-9]{{{length}}}" for length in lengths)
    return re.compile(rf"\+{calling_code}{f'(?!{prefix})' if prefix else ''}(?:{rest})")


def _numbering(calling_code: str) -> tuple[str, Sequence[int]]:
    """Return the pattern of the national prefixes of a calling code, and how long numbers are."""
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(
        int(calling_code), _CALLING_CODES[calling_code][0]
    )
    assert metadata is not None
    assert metadata.general_desc is not None
    return metadata.national_prefix_for_parsing or "", metadata.general_desc.possible_length


def _as_it_came(channel: Channel, text: str) -> str:
    text = text.lower()
    if channel == "email":
        return text
    digits = _NUMBER_SEPARATORS.sub("", text)
    return digits if re.fullmatch(r"\+?[0-9]+", digits) else text
