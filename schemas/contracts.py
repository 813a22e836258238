"""The contracts as documents: JSON Schema of what travels, AsyncAPI of the topics it travels on."""

from __future__ import annotations

from typing import Any

from schemas.events import MessageEvent
from schemas.providers import adapters

_MAILERS = {
    "email.sends": "Message events of mailers about emails",
    "sms.sends": "Message events of mailers about SMS",
}


def documents() -> dict[str, dict[str, Any]]:
    """Return every contract by file name."""
    return {"message_event.schema.json": _message_event(), "asyncapi.json": _asyncapi()}


def _message_event() -> dict[str, Any]:
    schema = MessageEvent.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _asyncapi() -> dict[str, Any]:
    feeds = {
        f"{adapter.CHANNEL}.events.{name}": f"Raw bodies of {name}; its headers as record headers"
        for name, adapter in sorted(adapters().items())
    }
    channels = {
        topic.replace(".", "_"): {
            "address": topic,
            "description": about,
            "messages": {"message": {"$ref": f"#/components/messages/{message}"}},
        }
        for topics, message in ((_MAILERS, "MessageEvent"), (feeds, "Raw"))
        for topic, about in topics.items()
    }
    channels["delivery_dead-letters"] = {
        "address": "delivery.dead-letters",
        "description": "Records that could not be read: the raw bytes; place and reason in headers",
        "messages": {"message": {"$ref": "#/components/messages/Raw"}},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Sendlog", "version": "0.1.0"},
        "channels": channels,
        "components": {
            "messages": {
                "MessageEvent": {
                    "contentType": "application/json",
                    "payload": {"$ref": "message_event.schema.json"},
                },
                "Raw": {"contentType": "application/octet-stream"},
            }
        },
    }
