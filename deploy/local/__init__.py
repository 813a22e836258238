"""The local stack: Kafka, ClickHouse's engine, the worker and the demo on one machine."""
