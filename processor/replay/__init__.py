"""Logs derived again from raw records: one message, or all that other adapters would change."""
