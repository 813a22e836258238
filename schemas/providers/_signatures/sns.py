"""SNS, of Amazon for SES and AWS SMS and of Scaleway: envelopes they signed, of our own topic.

They sign for every customer alike, so a signature proves nothing without the topic: the secret is
the topic's ARN (several with commas). Any other secret is a shared one, as the subscription's
address can hold it; raw deliveries and the calls of EventBridge and Firehose, which nobody signs,
then pass as well.
A certificate is good if its address is the signer's own, in the region of the topic, and Amazon's
names Amazon's SNS. Its chain is not checked: the file at that address has the last certificate
alone. That it came from there, TLS has shown.
Sources: Amazon SNS's docs, "Verifying the signatures of messages"; AWS's docs, "AWS service
endpoints" of its partitions; Amazon Data Firehose's docs, "HTTP endpoint delivery request and
response specifications"; Scaleway's docs, "Verifying webhook signatures".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import NameOID
from pydantic_core import from_json

from schemas.providers._signatures import shared
from schemas.providers._signatures.verification import (
    SignatureError,
    constant_time_equal,
    from_base64,
    require_secret,
)

if TYPE_CHECKING:
    from schemas.providers._signatures.verification import Request, VerificationContext


class _Signer(NamedTuple):
    """Whose topics are named so, where the certificates are by which it signs, and whom they name.

    `region` of an address, if it has one, is that of the topic.
    """

    topic_arn: re.Pattern[str]
    certificate_url: re.Pattern[str]
    subject: re.Pattern[str]


_SIGNERS: Final = {
    "aws": _Signer(
        re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]+:[A-Za-z0-9_.-]+"),
        re.compile(
            # Not any name: sns.s3.amazonaws.com is the address of a bucket that anybody may own.
            r"https://sns\.(?P<region>[a-z]{2,4}(?:-[a-z]{2,16}){1,3}-[0-9]{1,2})"
            r"\.amazonaws\.(?:com|com\.cn|eu)/SimpleNotificationService-[0-9a-f]{32}\.pem"
        ),
        re.compile(r"sns\.(?:[a-z0-9-]+\.)?amazonaws\.(?:com|com\.cn|eu)"),
    ),
    "scw": _Signer(
        re.compile(r"arn:scw:sns:[a-z0-9-]+:[A-Za-z0-9-]+:[A-Za-z0-9_.-]+"),
        re.compile(
            r"https://messaging\.s3\.[a-z]{2}-[a-z]{3}\.scw\.cloud/(?:[a-z0-9-]{1,40}/){0,3}"
            r"[A-Za-z0-9_-]{1,200}\.pem"
        ),
        re.compile(r".*"),  # documented nowhere
    ),
}
_CONFIRMATION_MEMBERS: Final = (
    "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
)  # fmt: skip
#: The signed members of each type of envelope, in this order.
SIGNED_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION_MEMBERS,
    "UnsubscribeConfirmation": _CONFIRMATION_MEMBERS,
}
_OPTIONAL_MEMBER: Final = "Subject"
_FIREHOSE_HEADER: Final = "x-amz-firehose-access-key"
HASHES: Final = {"1": SHA1, "2": SHA256}


def is_topic(secret: str) -> bool:
    """Return whether the configured secret is a topic, and not a shared secret."""
    return secret.startswith("arn:")


def topics(secret: str) -> frozenset[str]:
    """Return the configured topics. Raises `SignatureError` if one is no ARN of a topic."""
    arns = frozenset(part.strip() for part in secret.split(","))
    if not all(_signer(arn).topic_arn.fullmatch(arn) for arn in arns):
        raise SignatureError("the configured secret is no ARN of an SNS topic")
    return arns


def _signer(arn: str) -> _Signer:
    """Return who signs for a topic; Amazon has several partitions, as `aws-cn`."""
    return _SIGNERS["scw" if arn.startswith("arn:scw:") else "aws"]


def parse_secret(secret: str) -> object:
    """Return the topics or the shared secret. Raises `SignatureError` if neither can be used."""
    return topics(secret) if is_topic(secret) else require_secret(secret)


def envelope(request: Request, secret: str) -> Mapping[str, str]:
    """Return the members of an envelope of a configured topic. Raises `SignatureError`."""
    body: object = from_json(request.body)
    if not isinstance(body, dict) or body.get("Type") not in SIGNED_MEMBERS:
        raise SignatureError("the body is no SNS envelope")
    names = [*SIGNED_MEMBERS[body["Type"]], "Signature", "SignatureVersion", "SigningCertURL"]
    fields = {name: body.get(name) for name in names}
    if fields.get(_OPTIONAL_MEMBER, "") is None:
        del fields[_OPTIONAL_MEMBER]
    checked = {name: value for name, value in fields.items() if isinstance(value, str)}
    if missing := [name for name in fields if name not in checked]:
        raise SignatureError(f"the SNS envelope has no {missing[0]}")
    if checked["TopicArn"] not in topics(secret):
        raise SignatureError("the SNS envelope is of another topic than the one configured")
    topic = checked["TopicArn"]
    address = _signer(topic).certificate_url.fullmatch(checked["SigningCertURL"])
    if address is None:
        raise SignatureError("the SigningCertURL is not one of the topic's own SNS")
    if address.groupdict().get("region", region := topic.split(":")[3]) != region:
        raise SignatureError("the SigningCertURL is of another region than the topic")
    return checked


def check(context: VerificationContext, secret: str) -> None:
    """Accept an envelope signed for its topic, or a shared secret if no topic is configured."""
    if not is_topic(secret):
        _check_shared(context, secret)
        return
    fields = envelope(context.request, secret)
    certificate = context.certificates.get(fields["SigningCertURL"])
    if certificate is None:
        raise SignatureError("the certificate of the signature is not at hand")
    algorithm = HASHES.get(fields["SignatureVersion"])
    if algorithm is None:
        raise SignatureError("the SignatureVersion is neither 1 nor 2")
    signed = "".join(
        f"{name}\n{fields[name]}\n" for name in SIGNED_MEMBERS[fields["Type"]] if name in fields
    )
    signature = from_base64(fields["Signature"], "the Signature")
    try:
        _public_key(certificate, context.now, _signer(fields["TopicArn"]).subject).verify(
            signature, signed.encode("utf-8", "surrogatepass"), PKCS1v15(), algorithm()
        )
    except (InvalidSignature, UnsupportedAlgorithm):
        raise SignatureError("the signature does not match") from None
    context.check_time(_seconds(fields["Timestamp"]))


def _check_shared(context: VerificationContext, secret: str) -> None:
    """Accept a shared secret, which Firehose has a header of its own for."""
    access_key = context.request.headers.get(_FIREHOSE_HEADER)
    if access_key is None:
        shared.check(context, secret)
    elif not constant_time_equal(access_key, require_secret(secret)):
        raise SignatureError("the access key does not match")


def _public_key(pem: bytes, now: datetime, subject: re.Pattern[str]) -> RSAPublicKey:
    try:
        certificate = load_pem_x509_certificate(pem)
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureError("the certificate of the signature cannot be read") from None
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise SignatureError("the certificate of the signature is not valid at this time")
    names = [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not any(subject.fullmatch(str(name)) for name in names):
        raise SignatureError("the certificate of the signature names somebody else than SNS")
    if not isinstance(public, RSAPublicKey):
        raise SignatureError("the certificate of the signature holds no RSA key")
    return public


def _seconds(text: str) -> float:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SignatureError("the Timestamp is not ISO 8601") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
