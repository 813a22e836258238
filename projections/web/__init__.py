"""The HTTP API and the web pages of the logs; `app.build_api` makes the application."""
