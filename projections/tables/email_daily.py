"""The Email Log in figures: messages per day, provider and status."""

from __future__ import annotations

from typing import Final

from projections.tables.daily import daily_view
from projections.tables.email_log import PROJECTION as LOG

VIEW: Final = daily_view("email_daily", LOG)
