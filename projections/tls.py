"""TLS as a client: a context made of files, and in words why a connection fails."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.errors import ExplainedError

#: OpenSSL's codes of a certificate that nobody known has signed.
_UNKNOWN_CA_CODES: Final = frozenset({2, 18, 19, 20, 21, 24})
_WRONG_HOST_CODES: Final = frozenset({62, 64})
_EXPIRED_CODE: Final = 10
_EARLY_CODE: Final = 9
#: What OpenSSL reads where the other side answers something else than TLS.
_PLAIN_REASONS: Final = frozenset({
    "WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "RECORD_LAYER_FAILURE",
})  # fmt: skip
NOT_TLS: Final = "it speaks no TLS: is that its unencrypted port?"


class TlsFileError(ExplainedError):
    """A file of keys or certificates cannot be used; the text names its variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """What a client trusts, and what it shows of itself.

    Without `ca` it trusts whom the system trusts. `group` begins the names of the variables that
    the files come from, as in SENDLOG_KAFKA.
    """

    group: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_password: str = field(default="", repr=False)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context that verifies certificate and host name of the server, whatever else.

    Raises `TlsFileError`.
    """
    _check_readable(f"{files.group}__CA_FILE", files.ca)
    try:
        context = ssl.create_default_context(cafile=files.ca)
    except (ssl.SSLError, ValueError) as error:
        raise TlsFileError(
            f"{files.group}__CA_FILE: {files.ca} has no certificates in PEM ({_reason(error)})"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.certificate is not None:
        _load_certificate(context, files)
    return context


def check_certificate(files: TlsFiles) -> None:
    """Raise `TlsFileError` unless a server can show the certificate of the files."""
    _load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)


def modified_at(files: TlsFiles) -> tuple[float, ...]:
    """Return when each of the files was changed; 0 if it is not there."""
    paths = (files.ca, files.certificate, files.key)
    return tuple(path.stat().st_mtime if path and path.exists() else 0 for path in paths)


def _load_certificate(context: ssl.SSLContext, files: TlsFiles) -> None:
    assert files.certificate is not None
    _check_readable(f"{files.group}__CERTIFICATE_FILE", files.certificate)
    _check_readable(f"{files.group}__KEY_FILE", files.key)
    try:
        # A function, or OpenSSL would ask on the terminal for a password that is missing.
        context.load_cert_chain(files.certificate, files.key, lambda: files.key_password)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise TlsFileError(
            f"{files.group}__CERTIFICATE_FILE, __KEY_FILE: {files.certificate} and {files.key} are"
            f" no pair of certificate and key in PEM, or __KEY_PASSWORD is wrong ({_reason(error)})"
        ) from None


def _check_readable(variable: str, path: Path | None) -> None:
    if path is None:
        return
    try:
        path.open("rb").close()
    except OSError as error:
        raise TlsFileError(f"{variable}: {path} cannot be read: {error.strerror}") from None


def tls_problem(error: BaseException, group: str) -> str:
    """Return what TLS has against a connection, by the error that it ended with; else nothing.

    `group` begins the names of the variables that would mend it.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate_problem(cause, group)
        if isinstance(cause, ssl.SSLError):
            reason = _reason(cause)
            if isinstance(cause, ssl.SSLEOFError):
                continue  # somebody has gone, perhaps for a moment
            if reason in _PLAIN_REASONS:
                return NOT_TLS
            if "ALERT" in reason:
                return f"it refuses us ({reason}): does it take {group}__CERTIFICATE_FILE?"
            return f"TLS fails ({reason})"
    return ""


def _certificate_problem(error: ssl.SSLCertVerificationError, group: str) -> str:
    code, text = error.verify_code, error.verify_message.rstrip(".")
    if code in _WRONG_HOST_CODES:
        return f"its certificate is another host's ({text})"
    if code in _UNKNOWN_CA_CODES:
        return f"its certificate is signed by no CA of {group}__CA_FILE, or the system's ({text})"
    if code == _EXPIRED_CODE:
        return f"its certificate is out of date, or this machine's clock is wrong ({text})"
    if code == _EARLY_CODE:
        return f"its certificate is not valid yet, or this machine's clock is wrong ({text})"
    return f"its certificate is refused ({text})"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and those it was made of: libraries wrap them in every way there is."""
    visited: set[int] = set()
    pending = [error]
    while pending:
        cause = pending.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in visited:
            continue
        visited.add(id(cause))
        yield cause
        pending += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]


def _reason(error: BaseException) -> str:
    return getattr(error, "reason", None) or str(error) or type(error).__name__
