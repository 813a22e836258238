"""The one form of an address: what is the same address is the same text."""

from __future__ import annotations

import re

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.addresses import (
    AddressError,
    NumberRegions,
    address_parts,
    addresses_in,
    normal_form,
    parse_address,
    plain_pattern,
    shown_address,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("jo@example.com", "jo@example.com"),
        ("  Jo@Example.COM ", "jo@example.com"),
        ("Jo Doe <Jo@Example.com>", "jo@example.com"),
        ('"Doe, Jo <work>" < jo@example.com >', "jo@example.com"),
        ("jo@bücher.example", "jo@xn--bcher-kva.example"),
        ("jo@BÜCHER.example", "jo@xn--bcher-kva.example"),
        ("jo@xn--bcher-kva.example", "jo@xn--bcher-kva.example"),
        ("jo@straße.example", "jo@xn--strae-oqa.example"),
        ("jose\N{COMBINING ACUTE ACCENT}@example.com", "josé@example.com"),
        ("JOSÉ@example.com", "josé@example.com"),
        ("jo+tag@mail.example.co.uk", "jo+tag@mail.example.co.uk"),
        ("jo@localhost", "jo@localhost"),
        ("jo@[192.0.2.1]", "jo@[192.0.2.1]"),
        ('"jo doe"@example.com', '"jo doe"@example.com'),
    ],
)
def test_an_email_address_is_bare_composed_lower_cased_with_an_a_label(text, address):
    assert normal_form("email", text) == (address, "")


@pytest.mark.parametrize(
    ("text", "region", "address"),
    [
        ("+12015550123", "", "+12015550123"),
        ("+1 (201) 555-0123", "", "+12015550123"),
        ("0044 20 7946 0018", "", "+442079460018"),
        ("+44 (0)20 7946 0018", "", "+442079460018"),
        ("+4402079460018", "", "+442079460018"),
        ("020 7946 0018", "GB", "+442079460018"),
        ("(201) 555-0123", "US", "+12015550123"),
        ("+39 06 698 1234", "", "+39066981234"),
        ("+390669812345", "GB", "+390669812345"),
    ],
)
def test_a_number_is_in_e164(text, region, address):
    assert normal_form("sms", text, region) == (address, "")


@pytest.mark.parametrize(
    ("channel", "text", "stays", "error"),
    [
        ("email", "not-an-address", "not-an-address", "it needs a name, an @ and a domain"),
        ("email", "@example.com", "@example.com", "it needs a name"),
        ("email", "jo @example.com", "jo @example.com", "signs in it"),
        ("email", "jo@exa mple.com", "jo@exa mple.com", "no internet domain"),
        ("email", "jo@-.example", "jo@-.example", "no internet domain"),
        ("email", "jo@\ud800.example", "jo@\ud800.example", "no internet domain"),
        ("email", f"jo@{'ü' * 200}.example", f"jo@{'ü' * 200}.example", "no internet domain"),
        ("sms", "12015550123", "12015550123", "it names no country"),
        ("sms", "(201) 555-0123", "2015550123", "it names no country"),
        ("sms", "School", "school", "it is no number"),
        ("sms", "+1 23", "+123", "too short"),
        ("sms", "+999 123456789", "+999123456789", "no country has its country code"),
    ],
)
def test_what_is_no_address_stays_as_it_came_and_is_refused_where_it_is_typed(
    channel, text, stays, error
):
    assert normal_form(channel, text).address == stays
    assert error in normal_form(channel, text).error
    with pytest.raises(AddressError, match=error):
        parse_address(channel, text)


def test_nothing_is_no_error_but_no_address_either():
    assert normal_form("email", " ") == ("", "")
    with pytest.raises(AddressError, match="empty"):
        parse_address("email", " ")


@given(st.sampled_from(["email", "sms"]), st.text(max_size=30), st.sampled_from(["", "GB", "US"]))
def test_a_normal_form_is_its_own(channel, text, region):
    address = normal_form(channel, text, region).address
    assert normal_form(channel, address, region).address == address


@given(
    st.text(max_size=12),
    st.sampled_from(["bücher", "İ", "ß", "\N{LATIN SMALL LIGATURE FI}", "日本"]),
)
def test_a_normal_form_of_letters_of_all_scripts_is_its_own(name, label):
    address = normal_form("email", f"{name}@{label}.example").address
    assert normal_form("email", address).address == address
    assert normal_form("email", shown_address(address)).address == address


@given(
    st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)),
    st.from_regex("[0-9]{3,14}", fullmatch=True),
)
def test_a_number_that_looks_plain_is_what_the_library_makes_of_it(calling_code, rest):
    text = f"+{calling_code}{rest}"
    form = normal_form("sms", text)
    number = phonenumbers.parse(text)
    if phonenumbers.is_possible_number(number):
        assert form.address == phonenumbers.format_number(
            number, phonenumbers.PhoneNumberFormat.E164
        )
    else:
        assert form.error
    if re.search(plain_pattern("sms"), text):
        assert form == (text, "")


@given(st.from_regex("[a-z0-9.@_+-]{3,40}", fullmatch=True))
def test_an_email_address_that_looks_plain_is_its_own_normal_form(text):
    if re.search(plain_pattern("email"), text):
        assert normal_form("email", text) == (text, "")


def test_an_address_is_shown_with_the_letters_of_its_domain():
    assert shown_address("jo@xn--bcher-kva.example") == "jo@bücher.example"
    assert shown_address("jo@xn--.example") == "jo@xn--.example"
    assert shown_address("+12015550123") == "+12015550123"


def test_a_part_is_looked_for_as_it_may_stand_in_an_address():
    assert address_parts("email", "Bücher.example") == ("bücher.example", "xn--bcher-kva.example")
    assert address_parts("email", "jo@ex") == ("jo@ex",)
    assert address_parts("email", "josé") == ("josé", "xn--jos-dma")
    assert address_parts("sms", "(201) 555") == ("(201) 555", "201555")


def test_a_tenant_may_have_a_country_of_its_own():
    regions = NumberRegions("US", {"acme": "GB"})
    assert (regions.of("acme"), regions.of("other")) == ("GB", "US")


def test_addresses_are_looked_for_in_a_time_that_grows_with_the_text() -> None:
    text = "a" * 2_000_000  # by the square of it this would take hours
    assert addresses_in(text + " To <Joann@Example.org>, kim@example.org.") == {
        "joann@example.org", "kim@example.org",
    }  # fmt: skip
