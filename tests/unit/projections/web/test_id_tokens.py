"""ID tokens whose signature is right and whose content is odd are refused, and are no error."""

from __future__ import annotations

import json

import pytest

from projections.web.id_tokens import IdTokenError
from projections.web.people import verified_email
from tests.fuzz.web_parsers import ID_CLAIMS, read_id_token, signed_id_token

HEADER = b'{"alg": "EdDSA", "kid": "k1"}'
CLAIMS = {name: value for name, value in ID_CLAIMS.items() if name != "at_hash"}


def read(claims, header=HEADER):
    read_id_token(signed_id_token(header, claims))


def test_a_token_with_usual_claims_is_taken():
    read(json.dumps(CLAIMS).encode())


def test_claims_that_are_nested_without_end_are_refused():
    with pytest.raises(IdTokenError, match="its signature is by no key"):
        read(b"[" * 20_000)


def test_a_header_that_is_nested_without_end_is_refused():
    with pytest.raises(IdTokenError, match="it is no token"):
        read(json.dumps(CLAIMS).encode(), b"[" * 20_000)


def test_a_claim_of_another_type_is_refused():
    with pytest.raises(IdTokenError, match="a claim has a value of another type"):
        read(json.dumps({**CLAIMS, "at_hash": ["abc"]}).encode())


@pytest.mark.parametrize(("verified", "email"), [
    (True, "ann@example.com"), ("true", "ann@example.com"), (False, ""), ([], ""), ({}, ""),
    (1, ""),
])  # fmt: skip
def test_an_address_counts_only_where_it_is_said_to_be_verified(verified, email):
    assert verified_email({"email": "ann@example.com", "email_verified": verified}) == email
