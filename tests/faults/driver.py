"""A fault run: load, faults at random moments from a seed, and the oracle's verdict.

The same seed gives the same faults in the same order and the same load; how they meet is up to the
machine.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic, sleep

from tests.faults import poison
from tests.faults import stage as stages
from tests.faults.faults import FAULTS
from tests.faults.load import FORMS, Publisher, Template
from tests.faults.oracle import Oracle
from tests.faults.staff import Staff
from tests.system import wait_for

#: Between two looks at the workers.
POLL_SECONDS = 0.1
#: Between two lines of progress.
REPORT_SECONDS = 15.0
#: When nothing is published, what is not committed must change within this time, and all must be
#: committed, and retries requested, within the second. How fast is the machine's affair.
MAX_STANDSTILL_SECONDS = 240
MAX_REST_SECONDS = 1_800
#: Why a worker may end, to be started again: it began without a broker, nothing can be written, or
#: it has been outside its group for long.
EXPECTED_ENDINGS = (
    "no Kafka broker answers",
    "a view that throws",
    "no member of the consumer group",
)
#: For so long a fault waits for workers that write.
MAX_IDLE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a run goes. It ends when all `faults` were injected, `facts` published, or time is up.

    A `deck` has the faults to inject, in an order that follows from the seed; without one they are
    drawn of `kinds` by their weights. `gap_seconds` is the mean time between two faults,
    `overlap_share` how often a second one begins during the first, `look_share` how often committed
    offsets are checked after a fault. After `rest_every` faults the workers must catch up.
    """

    seed: int
    faults: int = 1_000_000
    facts: int = 1 << 60
    seconds: float = 1e9
    rate: float = 2_000
    live_rate: float = 5
    workers: int = 3
    template_facts: int = 10_000
    templates: int = 4
    gap_seconds: float = 1.0
    overlap_share: float = 0.3
    look_share: float = 0.5
    hold_factor: float = 1.0
    rest_every: int = 100
    deck: tuple[str, ...] = ()
    kinds: tuple[str, ...] = tuple(FAULTS)


@dataclass
class Report:
    """What came of a run."""

    seed: int
    seconds: float = 0.0
    faults: Counter = field(default_factory=Counter)
    facts: int = 0
    records: int = 0
    lost: int = 0
    wrong: int = 0
    stuck: int = 0
    endings: Counter = field(default_factory=Counter)
    commands: Counter = field(default_factory=Counter)
    hits: Counter = field(default_factory=Counter)
    committed_checks: int = 0
    failed_looks: Counter = field(default_factory=Counter)
    check_seconds: float = 0.0
    lines: list = field(default_factory=list)

    @property
    def is_good(self):
        return not (self.lost or self.wrong or self.stuck)

    def __str__(self):
        kinds = "\n".join(f"  {count:5}  {name}" for name, count in sorted(self.faults.items()))
        problems = "".join(f"\n  {line}" for line in self.lines)
        return (
            f"{kinds}\nseed {self.seed}: {self.faults.total():,} faults, {self.facts:,} facts in "
            f"{self.records:,} records, {self.seconds:,.0f} s; {self.committed_checks} looks at "
            f"committed offsets; checked in {self.check_seconds:.1f} s\n"
            f"looks in vain: {_counts(self.failed_looks)}\n"
            f"commands of staff by answer: {_counts(self.commands)}\n"
            f"spoiled on the way: {_counts(self.hits)}\n"
            f"workers that ended by themselves: {_counts(self.endings)}\n"
            f"{self.lost:,} lost, {self.wrong:,} wrong, {self.stuck:,} stuck{problems}"
            + ("" if self.is_good else f'\nagain: make test-faults ARGS="--seed {self.seed}"')
        )


class Run:
    """One run on a stage."""

    def __init__(self, plan, stage, show):
        self._plan, self._stage, self._show = plan, stage, show
        self._dice = random.Random(plan.seed)
        self._started = self._shown_at = monotonic()
        self._rest_at = plan.rest_every
        self.report = Report(plan.seed)
        templates = [
            Template(plan.seed * 100 + number, plan.template_facts, form=FORMS[number % len(FORMS)])
            for number in range(plan.templates)
        ]
        self._publisher = Publisher(
            stage.broker.bootstrap, templates, seed=plan.seed, rate=plan.rate,
            live_rate=plan.live_rate, max_facts=plan.facts,
        )  # fmt: skip
        stage.poison = poison.Poison(stage)
        stage.staff = Staff(stage)
        stage.oracle = self._oracle = Oracle(stage, self._publisher)

    def go(self):
        """Inject the faults, then check everything; return the report."""
        self._stage.crew.tend()
        self._publisher.start()
        self._stage.staff.start()
        deck = self._dice.sample(self._plan.deck, len(self._plan.deck))
        while not self._is_over() and (deck or not self._plan.deck):
            self._inject(deck)
            self._look()
            if not self._is_advancing():
                break
        self._publisher.end()
        self._stage.staff.end()
        self._finish()
        return self.report

    def _draw(self, deck, first=None):
        """Take a fault from the deck, or draw one; None if none can happen during the first."""
        if self._plan.deck:
            names = [name for name in deck if not (first and FAULTS[name].excludes(first))]
            if not names:
                return None
            deck.remove(names[0])
            return FAULTS[names[0]]
        kinds = [FAULTS[name] for name in self._plan.kinds]
        faults = [each for each in kinds if not (first and each.excludes(first))]
        if not faults:
            return None
        return self._dice.choices(faults, [each.weight for each in faults])[0]

    def _is_over(self):
        return (
            self.report.faults.total() >= self._plan.faults
            or monotonic() > self._started + self._plan.seconds
            or self._publisher.is_done
        )

    def _inject(self, deck):
        """Let a fault begin at a random moment, last and end; another one may begin meanwhile."""
        dice, plan = self._dice, self._plan
        first = self._draw(deck)
        if first.parts:
            self._wait_for_work()
        self._wait(dice.uniform(0, 2 * plan.gap_seconds))
        with ExitStack() as faults:
            self._begin(first, faults)
            if dice.random() < plan.overlap_share and (second := self._draw(deck, first)):
                self._wait(dice.uniform(0, plan.gap_seconds))
                self._begin(second, faults)
            low, high = first.seconds
            self._wait(dice.uniform(low, low + (high - low) * plan.hold_factor))

    def _wait_for_work(self):
        """Wait until something is written, for a fault that meets nobody proves nothing."""
        before, end = self._stage.inserted_rows(), monotonic() + MAX_IDLE_SECONDS
        while self._stage.inserted_rows() == before and monotonic() < end:
            self._wait(POLL_SECONDS)

    def _begin(self, fault, faults):
        faults.enter_context(fault.act(self._stage, self._dice))
        self.report.faults[fault.name] += 1

    def _look(self):
        """Check what is committed, now and then."""
        if self._dice.random() < self._plan.look_share:
            self._oracle.check_committed(self._dice)

    def _is_advancing(self):
        """Tell whether the workers catch up; it is tried now and then."""
        if self.report.faults.total() < self._rest_at:
            return True
        self._rest_at += self._plan.rest_every
        return self._rest()

    def _wait(self, seconds):
        """Let time pass, and the crew be tended."""
        end = monotonic() + seconds
        while True:
            self._stage.crew.tend()
            if self._publisher.error:
                raise self._publisher.error
            if monotonic() > self._shown_at + REPORT_SECONDS:
                self._shown_at = monotonic()
                self._show(self._progress())
            if monotonic() >= end:
                return
            sleep(min(POLL_SECONDS, max(end - monotonic(), 0)))

    def _progress(self):
        findings = self._oracle.findings
        return (
            f"{monotonic() - self._started:6.0f} s  seed {self._plan.seed}: "
            f"{self.report.faults.total():,} faults, {self._publisher.records_sent:,} records, "
            f"{self._stage.crew.endings.total()} workers ended by themselves, {findings.lost} lost"
        )

    def _rest(self):
        """Let the workers catch up; return whether they do."""
        self._publisher.flowing.clear()
        try:
            self._wait_for_commits()
        except AssertionError as error:
            self._stuck(error)
            return False
        finally:
            self._publisher.flowing.set()
        return True

    def _wait_for_commits(self):
        """Wait until the group has committed everything. Raises `AssertionError` if it stops."""
        lags, end = None, 0.0

        def done():
            nonlocal lags, end
            now = self._stage.lags()
            if now != lags:
                lags, end = now, monotonic() + MAX_STANDSTILL_SECONDS
            assert monotonic() < end, f"nothing was committed for {MAX_STANDSTILL_SECONDS} s"
            return not now

        self._wait_until(done, "the group to commit everything")

    def _wait_until(self, condition, what):
        def tended():
            self._wait(POLL_SECONDS)
            return condition()

        wait_for(tended, what, MAX_REST_SECONDS)

    def _stuck(self, error):
        lags = self._stage.lags()
        self.report.stuck += max(1, sum(lags.values()))
        self.report.lines.append(f"stuck: {error}; lags are {lags}")

    def _finish(self):
        """Wait for what is under way, and check all of it."""
        try:
            self._wait_for_commits()
            self._wait_until(lambda: not self._oracle.pending_retries(), "retries to be requested")
            # A commit leads to decisions, and those to facts.
            for _ in range(3):
                self._wait_for_commits()
        except AssertionError as error:
            self._stuck(error)
        started = monotonic()
        self._oracle.check_committed(self._dice)
        self._oracle.check_all()
        report, findings = self.report, self._oracle.findings
        report.check_seconds = monotonic() - started
        report.facts, report.records = self._publisher.facts_sent, self._publisher.records_sent
        report.endings = self._stage.crew.endings
        unexpected = [
            ending for ending in report.endings
            if not any(words in ending for words in EXPECTED_ENDINGS)
        ]  # fmt: skip
        findings.add_wrong("workers that ended and should not", unexpected)
        findings.add_wrong("commands of staff", self._stage.staff.differences())
        report.commands = self._stage.staff.answers
        report.hits = self._stage.database_link.hits + self._stage.broker_link.hits
        report.failed_looks = self._oracle.failed_looks
        report.committed_checks = self._oracle.committed_checks
        report.lost, report.wrong = findings.lost, findings.wrong
        report.lines += findings.lines
        report.seconds = monotonic() - self._started


def _counts(counter):
    return "; ".join(f"{count:,} {name}" for name, count in counter.most_common()) or "none"


def run(plan, folder, show=print):
    """Run a plan with its data in a folder; return the report."""
    with stages.running(folder, plan.workers) as stage:
        return Run(plan, stage, show).go()
