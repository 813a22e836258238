"""Errors that people are shown as they are."""


class ExplainedError(Exception):
    """Its text says what is wrong and what to do: a command prints it without a traceback."""
