"""An address is found in every writing, and no other address for it."""

from __future__ import annotations

import base64

import pytest

from schemas.addresses import Address
from schemas.written_forms import names_address
from tests.canaries import EMAIL, PHONE, email_writings, phone_writings

ANN = Address("t", "email", "ann.lee@example.com")
LONDON = Address("t", "sms", "+442079460018")


@pytest.mark.parametrize("text", email_writings())
def test_an_email_address_is_found_in_every_writing(text):
    assert names_address(Address("t", "email", EMAIL), f"to {text} now")
    assert names_address(Address("t", "email", EMAIL), text)


@pytest.mark.parametrize("text", phone_writings())
def test_a_number_is_found_in_every_writing(text):
    assert names_address(Address("t", "sms", PHONE), f"to {text} now")
    assert names_address(Address("t", "sms", PHONE), text)


@pytest.mark.parametrize("text", [
    "%3Cann.lee%40example.com%3E", "ann.lee%2540example.com", r"\\u003cann.lee\\u0040example.com",
    "SRS0=ab=cd=example.com=ann.lee@forward.example", "=3Cann.lee=40exa=\r\nmple.com=3E",
    "recipient=ann.lee@example.com", "ann.lee@example.com.", "line\\nann.lee@example.com",
])  # fmt: skip
def test_an_email_address_is_found_among_escapes(text):
    assert names_address(ANN, text)


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("written", [b"ann.lee@example.com", b"ANN.Lee@Example.com"])
def test_an_email_address_is_found_at_any_place_of_base64(before, written):
    assert names_address(ANN, base64.b64encode(b"x" * before + written + b"yy").decode())


@pytest.mark.parametrize("text", [
    "joann.lee@example.com", "jo.ann.lee@example.com", "x+ann.lee@example.com",
    "ann.lee@example.com.au", "ann.lee@example.co", "ann.lee@example.commerce", "ann.lee",
])  # fmt: skip
def test_another_email_address_is_not_taken_for_it(text):
    assert not names_address(ANN, text)


def test_in_an_id_the_address_may_be_part_of_a_word():
    assert names_address(ANN, "welcome-ann.lee@example.com", is_glued=True)
    assert not names_address(ANN, "welcome-ann.lee@example.com")


@pytest.mark.parametrize("text", ["4420794600181", "1442079460018", "+442079460019", "7946 0018"])
def test_another_number_is_not_taken_for_it(text):
    assert not names_address(LONDON, text)


@pytest.mark.parametrize("text", [
    "+44 (0)20 7946-0018", "(020) 7946 0018", "to=%2B44+20+7946+0018&x", r"\u002b442079460018",
])  # fmt: skip
def test_a_number_is_found_with_separators(text):
    assert names_address(LONDON, text)


@pytest.mark.parametrize("text", [
    "JO@BÜCHER.example", "jo@xn--bcher-kva.example", "jo%40b%C3%BCcher.example",
    r"jo\u0040b\u00fccher.example",
])  # fmt: skip
def test_a_domain_is_found_with_its_letters_and_without(text):
    assert names_address(Address("t", "email", "jo@xn--bcher-kva.example"), text)
