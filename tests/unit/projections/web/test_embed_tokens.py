"""Embed tokens: what a host says and signs is read; whatever else is said or signed is refused."""

from __future__ import annotations

import random
from contextlib import suppress
from itertools import islice

import pytest

from projections.web.embed_tokens import EmbedTokenError, EmbedTokens, EmbedView
from tests import embedding
from tests.embedding import encode
from tests.unit.projections.web.test_web import Clock

CLAIMS = {
    "tenant": "acme", "record_type": "family", "record_id": "F-1162", "actor": "Ann Clark",
    "scopes": ["read", "reset"], "origins": ["https://app.example.com"],
    "iat": 1000, "exp": 1600,
}  # fmt: skip


USUAL = {"alg": "HS256", "typ": "JWT", "kid": "key1"}


def sign(claims, secret, header=USUAL):
    return embedding.sign(claims, secret, header)


@pytest.fixture
def tokens():
    return EmbedTokens(b"m" * 32, clock=Clock())


@pytest.fixture
def secret(tokens):
    return tokens.secret_of("key1")


def test_what_a_host_signs_with_the_secret_of_its_key_is_read(tokens, secret):
    key_id, claims = tokens.read(sign(CLAIMS, secret))
    assert key_id == "key1"
    assert claims.model_dump() == CLAIMS | {"locale": "en", "time_zone": "UTC"}
    whole = CLAIMS | {"locale": "es-US", "time_zone": "America/New_York"}
    assert tokens.read(sign(whole, secret, {"kid": "key1", "alg": "HS256"}))[1].locale == "es-US"


def test_a_token_of_ours_is_one_like_any_other(tokens, secret):
    view = EmbedView(**{name: CLAIMS[name] for name in CLAIMS.keys() - {"tenant", "iat", "exp"}})
    token, expires_at = tokens.issue("key1", "acme", view, 600)
    assert expires_at == 1600
    whole = CLAIMS | {"locale": "en", "time_zone": "UTC"}
    assert tokens.read(token) == tokens.read(sign(whole, secret))


def test_the_secret_of_a_key_is_long_and_of_no_other_key_or_deployment(tokens, secret):
    assert len(secret) == 46
    others = {tokens.secret_of("key2"), EmbedTokens(b"n" * 32).secret_of("key1"),
              EmbedTokens().secret_of("key1"), EmbedTokens().secret_of("key1")}  # fmt: skip
    assert len(others | {secret}) == 5
    assert EmbedTokens(b"m" * 32).secret_of("key1") == secret


@pytest.mark.parametrize(
    "wrong",
    [
        {"exp": 1601}, {"exp": 1000}, {"exp": 999}, {"iat": 1031, "exp": 1090}, {"iat": "1000"},
        {"exp": 1600.5}, {"iat": True}, {"scopes": []}, {"scopes": ["admin"]}, {"scopes": "read"},
        {"actor": ""}, {"actor": " "}, {"actor": "x" * 101}, {"actor": "a\u0000b"}, {"tenant": ""},
        {"record_type": "a/b"}, {"record_type": ""}, {"record_id": ""}, {"record_id": "a\nb"},
        {"origins": []}, {"origins": ["http://app.example.com"]}, {"origins": ["*"]},
        {"origins": ["https://a.example; script-src *"]}, {"origins": ["https://a.example/"]},
        {"origins": ["https://a.example\n"]}, {"origins": ["https://*.example"]},
        {"origins": ["https://a.example"] * 11}, {"origins": ["https://"]},
        {"time_zone": "Mars/Phobos"}, {"time_zone": "../../etc/passwd"}, {"locale": "english!"},
        {"scope": ["read"]}, {"admin": True},
    ],
)  # fmt: skip
def test_claims_that_are_wrong_are_refused_by_their_name(tokens, secret, wrong):
    with pytest.raises(EmbedTokenError) as refusal:
        tokens.read(sign(CLAIMS | wrong, secret))
    [name] = {*wrong} - {"exp"} or {"exp"}
    assert str(refusal.value).startswith((name, "claims: Value error, exp"))
    assert secret not in str(refusal.value)


def test_a_claim_that_is_needed_is_asked_for(tokens, secret):
    for name in CLAIMS.keys() - {"scopes"}:
        with pytest.raises(EmbedTokenError, match=name):
            tokens.read(sign({key: CLAIMS[key] for key in CLAIMS if key != name}, secret))


def test_a_token_expires_when_it_says_and_its_clock_may_be_a_little_fast(tokens, secret):
    clock = tokens._clock
    _, claims = tokens.read(sign(CLAIMS | {"iat": 1030, "exp": 1630}, secret))
    for now, has_expired in ((1629.9, False), (1630, True), (2000, True)):
        clock.now = now
        assert tokens.has_expired(claims) == has_expired


def test_local_pages_of_a_developer_may_have_a_frame_without_https(tokens, secret):
    origins = ["http://localhost:8000", "http://127.0.0.1:81", "https://a-b.example:8443"]
    assert tokens.read(sign(CLAIMS | {"origins": origins}, secret))[1].origins == origins
    for origin in ("http://localhost.evil.example", "http://127.0.0.1.evil.example"):
        with pytest.raises(EmbedTokenError):
            tokens.read(sign(CLAIMS | {"origins": [origin]}, secret))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": "key1"}, {"alg": "HS512", "kid": "key1"},
        {"alg": "hs256", "kid": "key1"},
        {"alg": "HS256"}, {"alg": "HS256", "kid": 1}, {"alg": "HS256", "kid": "key2"},
        {"alg": "HS256", "kid": "key1", "crit": ["b64"], "b64": False},
        {"alg": "HS256", "kid": "key1", "typ": "JWE"}, {"alg": "HS256", "kid": "ké"}, [], "x",
        {"alg": "HS256", "kid": "key1", "jwk": {"kty": "oct", "k": "AA"}},
    ],
)  # fmt: skip
def test_only_one_kind_of_token_is_read(tokens, secret, header):
    with pytest.raises(EmbedTokenError):
        tokens.read(sign(CLAIMS, secret, header))


def forgeries(tokens, secret):
    """Yield 10,000 texts that nobody with the secret has signed; the seed is fixed."""
    dice, good = random.Random(7), sign(CLAIMS, secret)
    head, payload, signature = good.split(".")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # What somebody would rather have, with a signature of something else.
    wishes = [{"record_id": "F-1"}, {"record_type": "staff"}, {"tenant": "rival"}, {"exp": 1599},
              {"actor": "Somebody"}, {"origins": ["https://evil.example"]}]  # fmt: skip
    others = [tokens.secret_of("key2"), EmbedTokens(b"n" * 32).secret_of("key1"), "", secret[:-1],
              secret.upper(), "sk_" + secret[3:]]  # fmt: skip
    yield from (good[:length] for length in range(len(good)))
    yield from (good + tail for tail in (".", "=", " ", "\n", ".AAAA", "A", "\u00e9", "\ud800"))
    yield from (f"{head}.{encode(CLAIMS | wish)}.{signature}" for wish in wishes)
    yield from (f"{head}.{encode(CLAIMS | wish)}." for wish in wishes)
    yield from (sign(CLAIMS | wish, other) for wish in [{}, *wishes] for other in others)
    yield from ("", ".", "..", "...", "a.b.c", "x" * 5000, f"{head}.{payload}", f".{payload}.",
                f"{head}..{signature}", f"{payload}.{head}.{signature}", "[" * 9000)  # fmt: skip
    for place in range(len(good)):  # each bit of each character
        yield from (good[:place] + chr(ord(good[place]) ^ 1 << bit) + good[place + 1 :]
                    for bit in range(7))  # fmt: skip
    while True:
        match dice.randrange(3):
            case 0:
                places = {dice.randrange(len(good)) for _ in range(dice.randrange(1, 5))}
                text = list(good)
                for place in places:
                    text[place] = dice.choice(letters.replace(text[place], ""))
                yield "".join(text)
            case 1:
                yield f"{head}.{payload}.{encode(dice.randbytes(32))}"
            case 2:
                wish = {"record_id": f"F-{dice.randrange(10**6)}"}
                yield sign(CLAIMS | wish, encode(dice.randbytes(32)))


def test_10_000_tokens_that_are_forged_or_altered_are_refused(tokens, secret):
    read = []
    for token in islice(forgeries(tokens, secret), 10_000):
        with suppress(EmbedTokenError):
            read.append((token, tokens.read(token)))
    assert read == []
    tokens.read(sign(CLAIMS, secret))
