"""The HTTP API: endpoints and the models of their answers."""
