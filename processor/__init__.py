"""What runs: the Faust worker between Kafka and ClickHouse, and the command line."""
