"""Whatever goes wrong, and whenever: nothing is lost, nothing is wrong, nothing stands still.

`make test-faults` goes on for longer, with any seed.
"""

from __future__ import annotations

from tests.faults.driver import Plan, run
from tests.faults.faults import FAULTS

#: Those that take long, or need a minute to be got over, are left to the long runs.
SLOW = {
    "worker paused beyond its session", "worker cut off beyond its session", "a view throws",
}  # fmt: skip
MORE = ("worker paused", "database paused")
QUICK = Plan(
    seed=1, deck=(*(name for name in FAULTS if name not in SLOW), *MORE), workers=2, rate=400,
    templates=3, template_facts=3_000, gap_seconds=0.3, hold_factor=0.3, overlap_share=0.5,
    look_share=0.5,
)  # fmt: skip


def test_faults_at_random_moments_lose_nothing_and_leave_nothing_wrong_or_stuck(tmp_path):
    report = run(QUICK, tmp_path)
    assert report.is_good, report
    assert report.faults.total() >= 30
    assert report.committed_checks
