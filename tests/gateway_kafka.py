"""What a gateway publishes to, for tests of the gateway without a broker."""

from __future__ import annotations

from processor.gateway.producer import NotPublishedError


class Kafka:
    """Takes records into a list, or says why not."""

    def __init__(self):
        self.records, self.why = [], ""

    async def publish(self, topic, value, headers):
        if self.why:
            raise NotPublishedError(self.why)
        self.records.append((topic, value, dict(headers)))
