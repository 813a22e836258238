"""What the presence of folds tells of a status, derived from the status rules.

A page looks for the messages of a status among partial states, without folding them. Whether an
event has counted in a fold is simple to carry over: it has in a message if and only if it has in
one of its partial states. So the conditions of the rules are bounded by what presence alone says,
from above and below; from these bounds follow

- the `witness` of a status: what at least one partial state of each message with it shows;
- which messages `need_full_fold`: those whose status depends on more than presence.

A rule that compares times, say, is bounded by itself: a comparison is false where something in it
is missing (`Operator.needs`), and may be either where nothing is. Nothing here has to be told of a
new rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, reduce
from itertools import groupby
from operator import and_, or_
from typing import Final

from projections.expressions import OPERATORS, Call, Column, Expression, Literal
from projections.folds import ALWAYS
from projections.tables import Projection, StatusRule

#: A fold, by its place, that has counted an event (True) or has not.
_Atom = tuple[int, bool]


@dataclass(frozen=True, slots=True)
class PresenceFormula:
    """A formula of presence: it holds if all atoms of one of its terms do."""

    terms: frozenset[frozenset[_Atom]]

    def __or__(self, other: PresenceFormula) -> PresenceFormula:
        return _absorbed(self.terms | other.terms)

    def __and__(self, other: PresenceFormula) -> PresenceFormula:
        joined = (left | right for left in self.terms for right in other.terms)
        return _absorbed(term for term in joined if not _contradicts(term))

    def __invert__(self) -> PresenceFormula:
        return reduce(and_, map(_negated, self.terms), TRUE)


TRUE: Final = PresenceFormula(frozenset({frozenset()}))
FALSE: Final = PresenceFormula(frozenset())


def _absorbed(terms: Iterable[frozenset[_Atom]]) -> PresenceFormula:
    """Return terms as a formula, without those that another one implies."""
    every = frozenset(terms)
    return PresenceFormula(
        frozenset(term for term in every if not any(each < term for each in every))
    )


def _contradicts(term: frozenset[_Atom]) -> bool:
    return any((place, not present) in term for place, present in term)


def _negated(term: frozenset[_Atom]) -> PresenceFormula:
    return PresenceFormula(frozenset(frozenset({(place, not present)}) for place, present in term))


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What presence says of a condition: it holds only if `upper` does, and if `lower` does."""

    lower: PresenceFormula
    upper: PresenceFormula


@cache
def witness(log: Projection, status: str) -> Expression:
    """Return what at least one partial state of each message with this status shows."""
    formulas = (_witness_of(log, place, rules) for place, rules in _groups(log, status))
    return _expression(log, _in_two_tests(reduce(or_, formulas, FALSE)))


def _in_two_tests(formula: PresenceFormula) -> PresenceFormula:
    """Return a weaker formula that two tests of bits answer: any of some, and none of others.

    Each term has one fold present at most.
    """
    if not formula.terms:
        return formula
    absent = frozenset.intersection(*map(_absent_atoms, formula.terms))
    return _absorbed((term - _absent_atoms(term)) | absent for term in formula.terms)


def _absent_atoms(term: frozenset[_Atom]) -> frozenset[_Atom]:
    return frozenset(atom for atom in term if not atom[1])


@cache
def needs_full_fold(log: Projection) -> Expression:
    """Return which messages have a status that depends on more than presence."""
    bounds = (_bounds(log, rule.when) for rule in log.rules)
    return _expression(log, reduce(or_, (each.upper & ~each.lower for each in bounds), FALSE))


def _groups(log: Projection, status: str) -> Iterator[tuple[int, list[StatusRule]]]:
    """Yield the rules of a status that follow one another, with the place of the first."""
    place = 0
    for value, group in groupby(log.rules, key=lambda rule: rule.status):
        rules = list(group)
        if value == status:
            yield place, rules
        place += len(rules)


def _witness_of(log: Projection, place: int, rules: list[StatusRule]) -> PresenceFormula:
    """Return what one partial state shows of a message for which some rules are the first to hold.

    A fold that has counted nothing in the message has counted nothing in any state of it; of those
    that have, one of its states shows one.
    """
    absent = _absent(log, log.rules[:place])
    upper = reduce(or_, (_bounds(log, rule.when).upper for rule in rules))
    nothing = frozenset((each, False) for each in absent)
    terms = []
    for term in upper.terms:
        present = sorted(each for each, is_present in term if is_present)
        if not absent & set(present):
            terms.append(nothing | _absent_atoms(term) | {(each, True) for each in present[:1]})
    return _absorbed(terms)


def _absent(log: Projection, earlier: Iterable[StatusRule]) -> set[int]:
    """Return the folds that have counted nothing in any message that no earlier rule holds of."""
    lower = [term for rule in earlier for term in _bounds(log, rule.when).lower.terms]
    absent: set[int] = set()
    size = -1
    while len(absent) > size:
        size = len(absent)
        for term in lower:
            # One of its atoms does not hold. If all others do, it is this one.
            rest = [atom for atom in term if atom[1] or atom[0] not in absent]
            match rest:
                case [(place, True)]:
                    absent.add(place)
    return absent


def _bounds(log: Projection, condition: Expression) -> _Bounds:
    places = {fold.present: place for place, fold in enumerate(log.presence_folds)}
    if condition in places:
        atom = PresenceFormula(frozenset({frozenset({(places[condition], True)})}))
        return _Bounds(atom, atom)
    match condition:
        case Literal(value=bool(value)):
            constant = TRUE if value else FALSE
            return _Bounds(constant, constant)
        case Call(operator="not", arguments=(argument,)):
            inner = _bounds(log, argument)
            return _Bounds(~inner.upper, ~inner.lower)
        case Call(operator="and" | "or" as name, arguments=(left, right)):
            join = and_ if name == "and" else or_
            one, other = _bounds(log, left), _bounds(log, right)
            return _Bounds(join(one.lower, other.lower), join(one.upper, other.upper))
    return _Bounds(FALSE, _needed(log, condition))


def _needed(log: Projection, condition: Expression) -> PresenceFormula:
    """Return what has to be present for a condition that asks more than presence."""
    if not isinstance(condition, Call):
        return TRUE
    places = {
        fold.name: place for place, fold in enumerate(log.presence_folds) if not fold.is_packed
    }
    needed = (condition.arguments[number] for number in OPERATORS[condition.operator].needs)
    atoms = frozenset(
        (places[argument.name], True) for argument in needed
        if isinstance(argument, Column) and argument.name in places
    )  # fmt: skip
    return PresenceFormula(frozenset({atoms}))


def _expression(log: Projection, formula: PresenceFormula) -> Expression:
    """Return a formula as a condition on a state, always in the same order.

    What several terms want absent is asked once.
    """
    groups: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for term in formula.terms:
        absent = tuple(sorted(place for place, is_present in term if not is_present))
        present = tuple(sorted(place for place, is_present in term if is_present))
        groups.setdefault(absent, []).append(present)
    conditions = []
    for absent, terms in sorted(groups.items(), key=lambda group: min(group[1])):
        some = [_all_present(log, places) for places in sorted(terms) if places]
        none = [~log.presence_folds[place].present for place in absent]
        parts = [reduce(join, group) for join, group in ((or_, some), (and_, none)) if group]
        conditions.append(reduce(and_, parts) if parts else ALWAYS)
    return reduce(or_, conditions) if conditions else ~ALWAYS


def _all_present(log: Projection, places: Iterable[int]) -> Expression:
    return reduce(and_, (log.presence_folds[place].present for place in places))
