"""Hypothesis strategies: facts that collide, contradict and repeat; states nobody would fold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from projections.column_types import TIME, base_type, tuple_elements
from projections.folds import Fold, RowState
from projections.ordered_bytes import zero_values
from schemas.events import EPOCH, JOINED_KIND, KINDS_BY_CHANNEL, fingerprint, milliseconds

START = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)

#: Few distinct times, so that ties happen; in whole milliseconds.
times = st.integers(0, 40).map(lambda n: START + timedelta(milliseconds=250 * n))
texts = st.sampled_from(["", "a", "Ünïcode “quoted” 'text'\\n", "\x00nul", "💌", "x" * 300])


def facts(channel):
    """Facts of a few messages of one tenant, in any order, some of them twice."""
    fact = st.fixed_dictionaries(
        {
            "channel": st.just(channel),
            "kind": st.sampled_from(sorted(KINDS_BY_CHANNEL[channel] | {JOINED_KIND})),
            "message_id": st.sampled_from(["m1", "m2", ""]),
            "recipient": st.sampled_from(["a@example.com", "b@example.com", ""]),
            "occurred_at": times,
            "recorded_at": times,
        },
        optional={
            "attempt": st.integers(0, 4),
            "bounce_class": st.sampled_from(["hard", "soft", "block", "undetermined"]),
            "smtp_code": st.sampled_from([250, 421, 452, 550, 65_535]),
            "enhanced_status": st.sampled_from(["", "4.2.2", "5.1.1", "5.7.1", "9.9.9"]),
            "reason_code": st.sampled_from(["", "30003", "30007", "Permanent/General"]),
            "diagnostic": texts,
            "machine": st.sampled_from([None, True, False]),
            "handset": st.sampled_from([None, True, False]),
            "due_at": times,
            "subject": texts,
            "text": texts,
            "record_type": st.sampled_from(["", "family", "staff"]),
            "record_id": st.sampled_from(["", "F1", "S2"]),
            "provider": st.sampled_from(["", "ses", "twilio"]),
            "provider_message_id": st.sampled_from(["", "p1", "p2"]),
            "part": st.integers(0, 3),
            "parts": st.integers(0, 3),
            "campaign": st.sampled_from(["", "autumn"]),
            "tags": st.lists(st.sampled_from(["x", "y", "ü"]), max_size=3),
            "source_topic": st.sampled_from(
                [f"{channel}.sends", f"{channel}.sends.shop", f"{channel}.events.ses"]
            ),
            "url": st.sampled_from(["", "https://example.com/"]),
        },
    )
    return st.lists(fact, min_size=1, max_size=30)


def complete(facts_, tenant):
    """Return copies of facts as intake completes them."""
    out = []
    for fact in facts_:
        event = {**fact, "tenant_id": tenant}
        if "attempt" in fact:
            event["attempt"] = fact["attempt"] or 1
        event["event_id"] = fingerprint(event)
        out.append(event)
    return out


def values(kind):
    """Any value of a ClickHouse type that a fold may have."""
    if kind.startswith("Nullable("):
        return st.none() | values(base_type(kind))
    if kind.startswith("Array("):
        return st.frozensets(values(kind.removeprefix("Array(")[:-1]), max_size=3)
    if kind.startswith("Tuple("):
        return st.tuples(*map(values, tuple_elements(kind).values())).map(_as_packed)
    if kind == TIME:
        return times | st.just(EPOCH)
    if kind == "Bool":
        return st.booleans()
    if kind.startswith("UInt"):
        return st.integers(0, 5)
    return texts | st.sampled_from(["5.1.1", "hard", "30007"])


def _as_packed(values):
    return tuple(v.replace("\0", "") if isinstance(v, str) else v for v in values)


def states(folds: tuple[Fold, ...]):
    """Any state, also one that no facts would give."""
    return st.fixed_dictionaries({fold.name: values(fold.kind) for fold in folds})


def join_states(folds: tuple[Fold, ...], left: RowState, right: RowState) -> RowState:
    """The state of the events of both."""
    return {fold.name: fold.operator.join(left[fold.name], right[fold.name]) for fold in folds}


#: How many bytes a packed value of a fixed size takes.
_SIZES = {TIME: 8, "UInt16": 2, "Bool": 1}


def pack(values, kind):
    """The bytes of values, as the engine makes them."""
    if values == zero_values(kind):
        return b""
    fixed, texts = b"", []
    for value, element in zip(values, tuple_elements(kind).values(), strict=True):
        if element == "String":
            texts.append(value.replace("\0", "").encode())
        else:
            number = milliseconds(value) if isinstance(value, datetime) else int(value)
            fixed += number.to_bytes(_SIZES[element], "big")
    return fixed + b"\0".join(texts)
