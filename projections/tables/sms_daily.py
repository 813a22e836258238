"""The SMS Log in figures: messages per day, provider and status."""

from __future__ import annotations

from typing import Final

from projections.tables.daily import daily_view
from projections.tables.sms_log import PROJECTION as LOG

VIEW: Final = daily_view("sms_daily", LOG)
