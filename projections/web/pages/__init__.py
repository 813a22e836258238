"""The web pages of the logs, rendered on the server."""
