"""The web pages of the log: made on the server, by what the API answers from, for a browser."""
