"""The HTTP API of the log: an application made by `app.build`, of what it is given."""
