"""The schemes by which providers sign webhooks; `schemas.providers.signatures` chooses one."""
