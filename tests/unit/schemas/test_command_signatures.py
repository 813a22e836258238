"""Commands are signed: what was forged, changed, or is old is told from what was signed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.command_signatures import (
    MAX_SIGNATURE_AGE_MS,
    CommandSignatureError,
    check_signature,
    key_id,
    secrets_of,
    sign_command,
)

NEW, OLD, STRANGE = b"n" * 32, b"o" * 32, b"s" * 32
KEY, VALUE, NOW = b"acme|email|jo@example.com", b'{"id": "1"}', 1_795_000_000_000


def reason(header, *, secrets=(NEW, OLD), key=KEY, value=VALUE, appended_ms=NOW):
    """Return why a signature does not hold, None if it does; the text names no secret."""
    try:
        check_signature(list(secrets), header, key, value, appended_ms)
    except CommandSignatureError as error:
        is_leak = any(secret.decode() in str(error) for secret in (NEW, OLD, STRANGE))
        return "leak" if is_leak else error.reason
    return None


def signed(secret=NEW, key=KEY, value=VALUE, at=NOW):
    name, header = sign_command(secret, key, value, at)
    assert name == "sendlog-signature"
    return header.decode()


def test_a_signature_is_as_documented():
    assert signed() == (
        "v1 31cb679a 1795000000000 145da9ade1c57fa4ced36b76d71a9805b6adb19f79f00338794d3a1544abc65a"
    )


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_what_any_of_the_secrets_signed_holds(secret):
    assert reason(signed(secret)) is None


def test_the_first_of_the_secrets_signs():
    assert secrets_of(f"{NEW.decode()}\n{OLD.decode()}\n") == [NEW, OLD]
    assert secrets_of("") == []


def test_a_secret_that_was_taken_away_signs_no_more():
    assert reason(signed(OLD), secrets=[NEW]) == "unknown_key"


@pytest.mark.parametrize(
    "header", ["v1", "v2 a 1 b", "v1 a b c", f"v1 {key_id(NEW)} 1", "v1 a 1 b c", "ü", "v1 a ² b"]
)
def test_what_is_no_signature_is_malformed(header):
    assert reason(header) == "malformed"


@given(st.one_of(st.text(), st.from_regex(r"v1 [0-9a-f]{8} \d{1,40} \w*", fullmatch=True)))
def test_whatever_stands_in_the_header_is_refused_with_a_reason(header):
    assert reason(header) in {"unsigned", "malformed", "unknown_key", "forged"}


def test_no_signature_is_unsigned():
    assert reason("") == "unsigned"


@pytest.mark.parametrize(
    "changes",
    [
        {"value": VALUE + b" "}, {"key": b"other|email|jo@example.com"},
        {"key": KEY + VALUE[:1], "value": VALUE[1:]}, {"key": b""},
    ],
)  # fmt: skip
def test_a_signature_is_of_one_key_and_value(changes):
    assert reason(signed(), **changes) == "forged"


def test_nobody_signs_by_another_secret_under_the_name_of_a_good_one():
    name, good = key_id(STRANGE), key_id(NEW)
    assert reason(signed(STRANGE).replace(name, good)) == "forged"


def test_the_time_of_a_signature_cannot_be_changed():
    assert reason(signed(at=NOW - 10**9).replace(str(NOW - 10**9), str(NOW))) == "forged"


@pytest.mark.parametrize("late_ms", [MAX_SIGNATURE_AGE_MS, -MAX_SIGNATURE_AGE_MS, 0])
def test_a_signature_holds_while_clocks_may_differ(late_ms):
    assert reason(signed(), appended_ms=NOW + late_ms) is None


@pytest.mark.parametrize("late_ms", [MAX_SIGNATURE_AGE_MS + 1, -MAX_SIGNATURE_AGE_MS - 1, 10**10])
def test_a_copy_of_an_old_command_does_not_hold(late_ms):
    assert reason(signed(), appended_ms=NOW + late_ms) == "expired"
