"""The gateway: providers' webhooks over HTTP, verified and handed to Kafka unchanged."""
