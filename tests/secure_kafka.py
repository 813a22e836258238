"""A Kafka node that takes only encrypted connections with a login, and denies by default."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import suppress

from kafka import KafkaAdminClient
from kafka.admin import UserScramCredentialUpsertion

from deploy.local.addresses import free_port
from deploy.local.broker import Broker
from processor.kafka.connection import BrokerError, check_connection, sync_options
from processor.settings import KafkaSettings
from tests.certificates import DAY

ADMIN = "admin"
#: Of each component, where it logs in by SASL.
PASSWORDS = {
    name: f"{name}-s3cret"
    for name in (
        "admin",
        "sendlog-worker",
        "sendlog-gateway",
        "sendlog-operator",
        "sendlog-mailer-alpha",
        "sendlog-mailer-beta",
    )
}


class SecureBroker(Broker):
    """Listeners beside the good one have certificates of another host, or out of date; `mutual`
    wants a certificate of the client, and `open` has no encryption.
    """

    def __init__(self, folder, authority):
        self.authority = authority
        names = ("clients", "mutual", "expired", "elsewhere", "open", "controller")
        ports = []
        for _ in names:
            ports.append(free_port(*ports))
        self._ports = dict(zip(names, ports, strict=True))
        server = authority.issue("broker")
        pairs = {
            "clients": server, "mutual": server, "controller": server,
            "expired": authority.issue("expired", lifetime=DAY),
            "elsewhere": authority.issue("elsewhere", host="127.0.0.9"),
        }  # fmt: skip
        super().__init__(
            self.address("clients"), folder, properties=self._properties(pairs), ready=self._is_up
        )

    def address(self, listener):
        return f"127.0.0.1:{self._ports[listener]}"

    def settings(self, user=ADMIN, listener="clients", **options):
        return KafkaSettings(
            **{
                "bootstrap": self.address(listener), "protocol": "SASL_SSL", "mechanism": "PLAIN",
                "user": user, "password": PASSWORDS.get(user, ""), "replication": 1,
                "partitions": 2, "ca_file": self.authority.file, **options,
            }
        )  # fmt: skip

    def add_scram_user(self, name, password):
        with KafkaAdminClient(**sync_options(self.settings())) as admin:
            admin.alter_user_scram_credentials(
                [UserScramCredentialUpsertion(name, "SCRAM-SHA-512", password)]
            )

    def _is_up(self):
        with suppress(BrokerError):
            asyncio.run(check_connection(self.settings()))
            return True
        return False

    def _properties(self, pairs):
        protocols = {
            "mutual": "SSL", "open": "PLAINTEXT",
            **dict.fromkeys(("clients", "expired", "elsewhere", "controller"), "SASL_SSL"),
        }  # fmt: skip
        addresses = {name: f"{name.upper()}://{self.address(name)}" for name in protocols}
        package = "org.apache.kafka.common.security"
        users = " ".join(f'user_{name}="{word}"' for name, word in PASSWORDS.items())
        properties = {
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": ",".join(
                address for name, address in addresses.items() if name != "controller"
            ),
            "listener.security.protocol.map": ",".join(
                f"{name.upper()}:{protocol}" for name, protocol in protocols.items()
            ),
            "inter.broker.listener.name": "CLIENTS",
            "controller.quorum.voters": f"1@{self.address('controller')}",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.certificates": _one_line(self.authority.file),
            "ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
            "listener.name.mutual.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{ADMIN}",
        }
        for name, pair in pairs.items():
            listener = f"listener.name.{name}"
            properties |= {
                f"{listener}.ssl.keystore.type": "PEM",
                f"{listener}.ssl.keystore.certificate.chain": _one_line(pair.certificate),
                f"{listener}.ssl.keystore.key": _one_line(pair.key),
                f"{listener}.plain.sasl.jaas.config": f"{package}.plain.PlainLoginModule required"
                f' username="{ADMIN}" password="{PASSWORDS[ADMIN]}" {users};',
                f"{listener}.scram-sha-512.sasl.jaas.config": f"{package}.scram.ScramLoginModule"
                " required;",
                f"{listener}.oauthbearer.sasl.jaas.config": f"{package}.oauthbearer"
                '.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="admin";',
            }
        return properties


def unsigned_token(subject, seconds=600):
    """Return a token as this node takes it: without a signature."""
    now = int(time.time())
    parts = {"alg": "none"}, {"sub": subject, "iat": now, "exp": now + seconds}
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join(text.rstrip("=") for text in texts) + "."


def _one_line(file):
    return file.read_text().replace("\n", "\\n")
