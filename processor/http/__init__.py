"""The server of all that speaks HTTP: the web application and the gateway."""
