"""Signs webhooks as the providers document it, apart from the code that verifies them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
DER = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
TOPIC = "arn:aws:sns:eu-west-2:123456789012:mail-events"
CERTIFICATE_URL = (
    "https://sns.eu-west-2.amazonaws.com/SimpleNotificationService-" + "0a1b" * 8 + ".pem"
)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


#: What is configured, by provider; those of the others are passwords.
SECRETS = {
    "sendgrid": b64(EC.public_key().public_bytes(*DER)),
    "mailgun": "key-0123456789",
    "mailersend": "a-signing-secret",
    "mailtrap": "0123456789abcdef0123456789abcdef",
    "mandrill": "mandrill-webhook-key",
    "resend": "whsec_" + b64(b"resend's own bytes, thirty-two.."),
    "twilio": "an-auth-token",
    "plivo": "a-plivo-auth-token",
    "sinch": "a-webhook-secret",
    "messagebird": "a-signing-key",
    "vonage": "a-signature-secret",
    "telnyx": b64(ED.public_key().public_bytes(*RAW)),
    "zeptomail": "an-authentication-key",
}
SHARED = "hook:pass:word"


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A webhook before or after it is signed."""

    method: str = "POST"
    url: str = "https://hooks.example.com/hooks/acme/x"
    headers: dict[str, str]
    body: bytes = b""

    @property
    def query(self):
        return urlsplit(self.url).query

    def with_headers(self, **more):
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return replace(self, headers={**self.headers, **named})


def sign(provider, hook, at=None):
    """Return a webhook as its provider would send it at a time, now if none is given."""
    return SIGNERS.get(provider, basic)(hook, int(time.time() if at is None else at))


def basic(hook, at):
    return hook.with_headers(authorization="Basic " + b64(SHARED.encode()))


def sendgrid(hook, at):
    signature = EC.sign(f"{at}".encode() + hook.body, ec.ECDSA(hashes.SHA256()))
    return hook.with_headers(
        x_twilio_email_event_webhook_signature=b64(signature),
        x_twilio_email_event_webhook_timestamp=str(at),
    )


def telnyx(hook, at):
    signature = ED.sign(f"{at}|".encode() + hook.body)
    return hook.with_headers(telnyx_signature_ed25519=b64(signature), telnyx_timestamp=str(at))


def svix(hook, at):
    key = base64.b64decode(SECRETS["resend"].removeprefix("whsec_"))
    name = hook.headers.get("svix-id", "msg_1")
    mac = hmac.new(key, f"{name}.{at}.".encode() + hook.body, hashlib.sha256).digest()
    return hook.with_headers(
        svix_id=name, svix_timestamp=str(at), svix_signature=f"v1a,bm9wZQ== v1,{b64(mac)}"
    )


def mailgun(hook, at):
    """Sign as Mailgun; a time that the body has already is kept, for it is the event's as well."""

    def signed(timestamp):
        token = hashlib.sha256(hook.body).hexdigest()[:50]
        mac = hmac.new(SECRETS["mailgun"].encode(), f"{timestamp}{token}".encode(), "sha256")
        return {"token": token, "signature": mac.hexdigest()}

    if hook.body.lstrip().startswith(b"{"):
        body = json.loads(hook.body)
        body["signature"] = {**signed(str(at)), "timestamp": str(at)}
        return replace(hook, body=json.dumps(body).encode())
    if hook.body.lstrip().startswith(b"--"):
        boundary = hook.body.lstrip().partition(b"\n")[0].strip().decode()
        timestamp = hook.body.partition(b'name="timestamp"')[2].split(maxsplit=1)[0].decode()
        body = hook.body
        for name, value in signed(timestamp).items():
            part = f'Content-Disposition: form-data; name="{name}"\r\n\r\n'
            body, there = re.subn(f"({part})[^\r]*".encode(), rf"\g<1>{value}".encode(), body)
            if not there:
                body = f"{boundary}\r\n{part}{value}\r\n".encode() + body
        return replace(hook, body=body)
    fields = dict(parse_qsl(hook.body.decode(), keep_blank_values=True))
    timestamp = fields.setdefault("timestamp", str(at))
    return replace(hook, body=urlencode({**fields, **signed(timestamp)}).encode())


def hex_of_body(provider, name):
    """Return what signs a body alone, in a header."""

    def signed(hook, at):
        mac = hmac.new(SECRETS[provider].encode(), hook.body, hashlib.sha256)
        return hook.with_headers(**{name: mac.hexdigest()})

    return signed


def twilio(hook, at):
    if hook.body.startswith((b"{", b"[")):
        between = "&" if hook.query else "?"
        url = f"{hook.url}{between}bodySHA256={hashlib.sha256(hook.body).hexdigest()}"
        return over_url("x_twilio_signature", "twilio", replace(hook, url=url), "")
    fields = sorted(parse_qsl(hook.body.decode(), keep_blank_values=True))
    return over_url("x_twilio_signature", "twilio", hook, "".join(n + v for n, v in fields))


def zeptomail(hook, at):
    mac = hmac.new(SECRETS["zeptomail"].encode(), hook.body, hashlib.sha256).digest()
    signature = f"ts={at}000;s={quote(b64(mac), safe='')};s-algorithm=HmacSHA256"
    return hook.with_headers(producer_signature=signature)


def mandrill(hook, at):
    fields = sorted(parse_qsl(hook.body.decode(), keep_blank_values=True))
    return over_url("x_mandrill_signature", "mandrill", hook, "".join(n + v for n, v in fields))


def over_url(name, provider, hook, rest):
    mac = hmac.new(SECRETS[provider].encode(), (hook.url + rest).encode(), hashlib.sha1)
    return hook.with_headers(**{name: b64(mac.digest())})


def vonage(hook, at):
    """Sign as Vonage: a JWT over a body, the parameter `sig` in a query."""
    return vonage_jwt(hook, at) if hook.body else vonage_sig(hook, at)


def vonage_jwt(hook, at, alg="HS256"):
    claims = {"iat": at, "iss": "Vonage", "payload_hash": hashlib.sha256(hook.body).hexdigest()}
    return hook.with_headers(authorization=f"Bearer {token('vonage', claims, alg)}")


def vonage_sig(hook, at, method="md5hash"):
    query = hook.query + f"&timestamp={at}"
    text = "".join(
        f"&{n}={v.replace('&', '_').replace('=', '_')}"
        for n, v in sorted(dict(parse_qsl(query, keep_blank_values=True)).items())
    )
    secret = SECRETS["vonage"]
    if method == "md5hash":
        sig = hashlib.md5((text + secret).encode()).hexdigest()
    else:
        sig = hmac.new(secret.encode(), text.encode(), method).hexdigest().upper()
    return replace(hook, url=f"{hook.url}&timestamp={quote(str(at))}&sig={sig}")


def plivo(hook, at):
    """Sign as Plivo, in version 3, with a signature of an older token before it."""
    nonce = f"{at}-nonce"
    address, _, _ = hook.url.partition("?")
    query = "&".join(f"{n}={v}" for n, v in sorted(parse_qsl(hook.query, keep_blank_values=True)))
    fields = sorted(parse_qsl(hook.body.decode(), keep_blank_values=True))
    form = "".join(n + v for n, v in fields)
    if query or form:
        address += "?" + query
    if query and form:
        address += "."
    mac = plivo_mac(f"{address}{form}.{nonce}")
    return hook.with_headers(x_plivo_signature_v3=f"b2xk,{mac}", x_plivo_signature_v3_nonce=nonce)


def plivo_v2(hook, at):
    nonce = f"{at}-nonce"
    mac = plivo_mac(hook.url.partition("?")[0] + nonce)
    return hook.with_headers(x_plivo_signature_v2=mac, x_plivo_signature_v2_nonce=nonce)


def plivo_mac(text):
    return b64(hmac.new(SECRETS["plivo"].encode(), text.encode(), hashlib.sha256).digest())


def sinch(hook, at):
    nonce = f"{at}-nonce"
    signed = hook.body + f".{nonce}.{at}".encode()
    mac = hmac.new(SECRETS["sinch"].encode(), signed, hashlib.sha256)
    return hook.with_headers(
        x_sinch_webhook_signature=b64(mac.digest()), x_sinch_webhook_signature_nonce=nonce,
        x_sinch_webhook_signature_timestamp=str(at),
        x_sinch_webhook_signature_algorithm="HmacSHA256",
    )  # fmt: skip


def messagebird(hook, at):
    claims = {
        "iss": "MessageBird", "nbf": at, "exp": at + 60, "jti": "1",
        "url_hash": hashlib.sha256(hook.url.encode()).hexdigest(),
    }  # fmt: skip
    if hook.body:
        claims["payload_hash"] = hashlib.sha256(hook.body).hexdigest()
    return hook.with_headers(messagebird_signature_jwt=token("messagebird", claims))


def messagebird_hmac(hook, at):
    query = urlencode(sorted(parse_qsl(hook.query, keep_blank_values=True)))
    signed = f"{at}\n{query}\n".encode() + hashlib.sha256(hook.body).digest()
    mac = hmac.new(SECRETS["messagebird"].encode(), signed, hashlib.sha256).digest()
    return hook.with_headers(messagebird_signature=b64(mac), messagebird_request_timestamp=str(at))


def token(provider, claims, alg="HS256"):
    signed = ".".join(b64url(json.dumps(p).encode()) for p in ({"alg": alg, "typ": "JWT"}, claims))
    mac = hmac.new(SECRETS[provider].encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{b64url(mac)}"


def certificate(now, key=RSA, days=30, subject="sns.amazonaws.com"):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - timedelta(days=1)).not_valid_after(
        now + timedelta(days=days)
    )
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def sns(message, at, version="2", kind="Notification", **more):
    """Return an SNS envelope, signed as Amazon documents it."""
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    fields = {
        "Type": kind, "MessageId": "5c3e7b2a", "TopicArn": TOPIC, "Message": message,
        "Timestamp": moment.replace("+00:00", "Z"), "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL, **more,
    }  # fmt: skip
    if kind == "Notification":
        names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    else:
        names = [
            "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
        ]  # fmt: skip
    text = "".join(f"{name}\n{fields[name]}\n" for name in names if name in fields)
    hashed = hashes.SHA1() if version == "1" else hashes.SHA256()
    fields["Signature"] = b64(RSA.sign(text.encode(), padding.PKCS1v15(), hashed))
    return fields


SIGNERS = {
    "sendgrid": sendgrid, "mailgun": mailgun, "mandrill": mandrill, "resend": svix,
    "mailersend": hex_of_body("mailersend", "signature"),
    "mailtrap": hex_of_body("mailtrap", "mailtrap-signature"),
    "twilio": twilio, "vonage": vonage, "telnyx": telnyx, "plivo": plivo, "sinch": sinch,
    "messagebird": messagebird, "zeptomail": zeptomail,
}  # fmt: skip
