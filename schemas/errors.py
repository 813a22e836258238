"""Errors whose text is meant for people."""


class ExplainedError(Exception):
    """An error whose text says what is wrong and what to do; commands print no traceback."""
