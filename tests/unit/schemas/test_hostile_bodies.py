"""No body costs more than its size: what nobody has signed is judged in a moment."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from time import thread_time

import pytest

from schemas.providers import adapters, signatures
from schemas.providers._multipart import MAX_PART_HEADER_BYTES, MAX_PARTS, multipart_fields
from schemas.providers._rejections import UnreadableError
from tests.signing import SECRETS, SHARED, Hook

NOW = datetime(2026, 11, 1, tzinfo=UTC)
#: Of this thread, so other work on the machine does not count; what is linear takes a tenth.
MAX_CPU_SECONDS = 0.5
FIELD = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
NESTED = b"".join(
    b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (depth, depth + 1)
    for depth in range(400)
)
SHAPES = {
    "nested": NESTED + b"a\r\n" * 400_000,
    "nested in a field": FIELD % (b"a", NESTED + b"a\r\n" * 400_000),
    "parts": FIELD % (b"a", b"x") * 30_000,
    "headers": b"--b\r\n" + b"A: b\r\n" * 200_000,
    "parameters": b"--b\r\nContent-Disposition: form-data" + b'; a="' * 300_000,
    "almost delimiters": FIELD % (b"a", b"\r\n-" * 400_000),
    "full parts": (FIELD % (b'";' * 900, b"x")) * (MAX_PARTS - 1),
    "line ends": FIELD % (b"a", b"\r\n" * 600_000),
    "fields": b"a&" * 600_000,
    "escapes": b"a=" + b"%41" * 400_000,
    "lists": b"[" * 1_000_000,
    "objects": b'{"signature":' * 100_000,
    "repeated members": b'{"signature": {' + b'"a": 1, ' * 140_000 + b'"a": 1}}',
}


def judge(provider, hook, secret):
    signatures.certificate_needed(provider, hook, secret)
    signatures.verify(provider, hook, secret, NOW)


@pytest.mark.parametrize("size", [256_000, 1_000_000])
@pytest.mark.parametrize("provider", sorted({*signatures.SCHEMES, "postmark"}))
def test_a_body_that_nobody_signed_is_refused_in_a_moment(provider, size):
    headers = {
        "content-type": "multipart/form-data; boundary=b0", "x-twilio-signature": "x",
        "x-mandrill-signature": "x", "producer-signature": "s=x;s-algorithm=HmacSHA256",
    }  # fmt: skip
    url = "https://hooks.example.com/hooks/acme/x?" + "a&" * 30_000
    for name, body in SHAPES.items():
        hook = Hook(headers=headers, body=body[:size], url=url)
        secret = SECRETS.get(provider, SHARED)
        started_at = thread_time()
        with pytest.raises(signatures.SignatureError):
            judge(provider, hook, secret)
        assert thread_time() - started_at < MAX_CPU_SECONDS, name


@pytest.mark.parametrize("name", SHAPES)
def test_a_form_of_mailguns_is_read_in_a_moment(name):
    started_at = thread_time()
    with suppress(ValueError):
        list(adapters()["mailgun"].events(SHAPES[name], {}))
    assert thread_time() - started_at < MAX_CPU_SECONDS


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_a_form_has_its_fields_and_no_files(line_end):
    inner = '--d\nContent-Disposition: form-data; name="inner"\n\nx\n--d--'
    parts = [
        'Content-Disposition: form-data; name="a"\n\nfirst\n\nsecond\n',
        "content-disposition: form-data; name=b\nContent-Transfer-Encoding: base64\n\neA==",
        'Content-Disposition: form-data; name="f"; filename="x.txt"\n\nfile',
        "Content-Disposition: form-data\n\nnameless",
        f'Content-Disposition: form-data; name="c"\nContent-Type: multipart/mixed\n\n{inner}',
        'Content-Disposition: form-data; name="empty"\n\n',
        'Content-Disposition: form-data; name="ü"\n\nj\u00f6',
    ]
    text = "\n\n" + "".join(f"--x y\n{part}\n" for part in parts) + "--x y--\nafter\n--x y\n\nz"
    fields = multipart_fields(text.replace("\n", line_end).encode())
    assert {name: value.replace(line_end, "\n") for name, value in fields.items()} == {
        "a": "first\n\nsecond\n", "b": "x", "empty": "", "ü": "jö", "c": inner,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (FIELD % (b"a", b"") * (MAX_PARTS + 1), "more than"),
        (b"--b\r\nA: " + b"b" * MAX_PART_HEADER_BYTES + b"\r\n\r\nx", "no headers"),
        (b"--b\r\nA: b", "no headers"),
        (b"--" + b"b" * 71 + b"\r\n", "does not begin"),
        (b"--\r\n", "does not begin"),
        (b"", "does not begin"),
    ],
)
def test_what_no_form_has_is_refused(body, reason):
    with pytest.raises(UnreadableError, match=reason):
        multipart_fields(body)
