"""The demo: realistic traffic of an invented business, and the log that it must become.

README.md has the modules and the way through them.
"""
