"""The contracts as documents: JSON Schema of what travels, AsyncAPI of the topics it travels on."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from schemas.decisions import (
    Command,
    DecisionEvent,
    ResendRequested,
    RetryRequested,
    Suppression,
)
from schemas.events import MessageEvent
from schemas.providers import adapters

_MAILER_TOPICS = {
    "email.sends": "Message events of mailers about emails",
    "sms.sends": "Message events of mailers about SMS",
}
#: Topics that a mailer with walls has beside these for itself, as AsyncAPI writes such names.
_OWN_TOPICS: Final = ("email.sends", "sms.sends", "delivery.retries", "delivery.suppressions")
_MAILER_PARAMETER: Final = ".{mailer}"
_POLICY_TOPICS = {
    "delivery.retries": ("RetryRequested", "Messages to send again, each when it falls due"),
    "delivery.suppressions": (
        "Suppression",
        "Compacted: the current entry per tenant|channel|address; a tombstone where there is none",
    ),
    "delivery.decisions": ("DecisionFact", "What the rules decided, as facts for the log"),
    "delivery.commands": (
        "Command",
        "What people ask for: an address reset or listed by hand, a message resent",
    ),
}
#: What else travels on a topic, by its message.
_OTHER_MESSAGES: Final = {"delivery.retries": {"resend": "ResendRequested"}}
#: The file of each contract's schema.
_CONTRACTS: Final[dict[str, type[BaseModel]]] = {
    "message_event": MessageEvent,
    "retry_requested": RetryRequested,
    "resend_requested": ResendRequested,
    "suppression": Suppression,
    "decision_fact": DecisionEvent,
    "command": Command,
}


def documents() -> dict[str, dict[str, Any]]:
    """Return every exported document by file name."""
    schemas = {f"{name}.schema.json": _schema(model) for name, model in _CONTRACTS.items()}
    return {**schemas, "asyncapi.json": _asyncapi()}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _channel(topic: str, message: str, description: str) -> dict[str, Any]:
    messages = {"message": message, **_OTHER_MESSAGES.get(topic, {})}
    return {
        "address": topic,
        "description": description,
        "messages": {
            name: {"$ref": f"#/components/messages/{each}"} for name, each in messages.items()
        },
    }


def _asyncapi() -> dict[str, Any]:
    feeds = {
        f"{adapter.CHANNEL}.events.{name}": f"Raw bodies of {name}; its headers as record headers"
        for name, adapter in sorted(adapters().items())
    }
    topics = {
        **{topic: ("MessageEvent", description) for topic, description in _MAILER_TOPICS.items()},
        **{topic: ("Raw", description) for topic, description in feeds.items()},
        "delivery.dead-letters": (
            "Raw",
            "Records that could not be read: the raw bytes; place and reason in headers",
        ),
        **_POLICY_TOPICS,
    }
    channels = {
        topic.replace(".", "_"): _channel(topic, message, description)
        for topic, (message, description) in topics.items()
    }
    for topic in _OWN_TOPICS:
        message, description = topics[topic]
        channels[f"{topic.replace('.', '_')}_mailer"] = {
            **_channel(topic, message, f"{description}; of one mailer with walls alone"),
            "address": topic + _MAILER_PARAMETER,
            "parameters": {"mailer": {"description": "Its name in SENDLOG_KAFKA__MAILERS"}},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Sendlog", "version": "0.1.0"},
        "channels": channels,
        "components": {
            "messages": {
                **{
                    model.model_json_schema()["title"]: {
                        "contentType": "application/json",
                        "payload": {"$ref": f"{name}.schema.json"},
                    }
                    for name, model in _CONTRACTS.items()
                },
                "Raw": {"contentType": "application/octet-stream"},
            }
        },
    }
