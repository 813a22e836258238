"""The demo feed: a seeded, realistic traffic of a business, with the log it must become.

`business` says who is written to and what; `scenarios` what then happens and what the log must
say of it, given by hand; `render` turns that into Kafka records (`payloads` in the providers' own
formats); `traffic` puts it into an endless, reproducible stream; `feed` publishes it.
"""
