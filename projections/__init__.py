"""What is kept: the event store, the logs folded from it, and the questions asked of them."""
