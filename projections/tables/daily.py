"""The figures of a log per day: how many messages of which provider stand at which status."""

from __future__ import annotations

from projections.tables import Projection, View


def daily_view(name: str, log: Projection) -> View:
    """Return the view `name`: of each day, provider and status the number of a log's messages.

    A message counts once, on the day (UTC) of its `date`, with the status that it has now. Only
    what these columns are read from is merged, and of a tenant asked for nothing of others.
    """
    return View(
        name=name,
        comment=f"messages of {log.name} per tenant, day (UTC), provider and status now",
        select=f"""
SELECT tenant_id, toDate(assumeNotNull(date)) AS day, provider, status, count() AS messages
FROM {{database}}.{log.name}
GROUP BY tenant_id, day, provider, status
""",
    )
