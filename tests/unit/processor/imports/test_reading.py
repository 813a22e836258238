"""What is read of exports: an example a format, with the events that must come of it."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from processor.imports.files import files_of
from processor.imports.history import HistoryImport, ImportRecord
from processor.imports.layouts import export_time
from processor.imports.list_layouts import LIST_LAYOUTS
from processor.imports.payloads import BadLine, ImportSourceError, LeftOut
from processor.imports.reading import read_file
from schemas.providers import UnreadableError, adapters, decode
from tests.mailboxes import REPORTS, mails
from tests.paths import PAYLOADS

EXPORTS = PAYLOADS.parent / "exports"
EXAMPLES = [
    Path(str(path).removesuffix(".expected.json"))
    for path in sorted(EXPORTS.rglob("*.expected.json"))
]


def read(path, provider, **options):
    return list(read_file(path, provider, max_bytes=1_000_000, **options))


def imported(items, provider, **options):
    """Return the records of items, and the bad lines."""
    history = HistoryImport(adapter=adapters()[provider], tenant="acme", **options)
    results = list(history.records(items))
    records = [each for each in results if isinstance(each, ImportRecord)]
    return records, [each for each in results if isinstance(each, BadLine)]


def as_json(value):
    return f"{value:%Y-%m-%dT%H:%M:%S.}{value.microsecond // 1000:03}Z" if isinstance(
        value, datetime) else value  # fmt: skip


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(EXPORTS)))
def test_an_export_gives_its_events_and_names_its_bad_lines(path):
    expected = json.loads(Path(f"{path}.expected.json").read_text("utf-8"))
    items = read(path, expected["provider"], list_name=expected.get("list", ""))
    records, bad = imported(items, expected["provider"])
    events = [(record.source, event) for record in records for event in record.events]
    actual = [
        {
            "line": source.line,
            **{name: as_json(event.get(name)) for name in wanted if name != "line"},
        }
        for (source, event), wanted in zip(events, expected["events"], strict=True)
    ]
    assert actual == expected["events"]
    assert {source.exact for source, _ in events} == {expected["exact"]}
    assert {event["tenant_id"] for _, event in events} == {"acme"}
    assert [line.line for line in bad] == [each["line"] for each in expected["bad"]]
    for line, each in zip(bad, expected["bad"], strict=True):
        assert each["why"] in line.why
        assert str(line).startswith(f"{path}, line {line.line}: ")


def test_every_big_provider_has_an_example_of_each_form():
    names = {str(path.relative_to(EXPORTS)) for path in EXAMPLES if path.parent.name != "lists"}
    assert len(names) == 12
    for provider in ("sendgrid", "mailgun", "postmark", "twilio"):
        assert any(name.startswith(f"{provider}/") and name.endswith(".csv") for name in names)


def test_every_list_has_an_example_and_says_what_it_leaves_out():
    lists = set()
    for path in (path for path in EXAMPLES if path.parent.name == "lists"):
        expected = json.loads(Path(f"{path}.expected.json").read_text("utf-8"))
        lists.add((expected["provider"], expected["list"]))
        items = read(path, expected["provider"], list_name=expected["list"])
        left_out = Counter(item.why for item in items if isinstance(item, LeftOut))
        assert left_out == expected["left_out"]
    assert lists == {(provider, name) for provider, names in LIST_LAYOUTS.items() for name in names}


def test_a_file_that_is_not_of_the_list_is_named(tmp_path):
    file = tmp_path / "x.csv"
    for text in ("name,when\na,b\n", '{"name": "a"}'):
        file.write_text(text)
        [line] = read(file, "mailgun", list_name="bounces")
        assert isinstance(line, BadLine)
        assert line.why == "entries of the list bounces have address"


def example_payloads():
    """Yield every example payload of every provider, whose events have a time of their own."""
    for path in sorted(PAYLOADS.rglob("*.json")):
        example = json.loads(path.read_text("utf-8"))
        yield pytest.param(example, id=f"{path.parent.name}/{path.stem}")


@pytest.mark.parametrize("example", list(example_payloads()))
def test_a_kept_payload_gives_the_events_of_the_live_feed(example, tmp_path):
    """As an archive has it, with its headers and time: the same ids, times and fields."""
    provider, payload = example["provider"], example["payload"]
    file = tmp_path / "kept.ndjson"
    file.write_text(
        json.dumps({
            "provider": provider, "headers": example["headers"], "payload": payload,
            "recorded_at": "2026-11-01T09:00:00.000Z",
        })
    )  # fmt: skip
    headers = {**example["headers"], "sendlog-tenant": "acme"}
    live = decode(adapters()[provider], payload.encode("utf-8", "surrogatepass"), headers,
                  1_793_523_600_000, "default")  # fmt: skip
    records, bad = imported(read(file, provider), provider)
    assert [event for record in records for event in record.events] == live.events
    assert bool(bad) == bool(live.rejected and not live.events)
    for record in records:
        assert dict(record.headers)["sendlog-recorded-at"] == b"1793523600000"


@pytest.mark.parametrize("provider", ["ses", "sendgrid", "mailgun", "postmark"])
@pytest.mark.parametrize("indent", [None, 2])
def test_payloads_of_json_give_the_same_ids_a_line_or_over_lines_and_in_a_list(
    provider, indent, tmp_path
):
    bodies, live = [], []
    for path in sorted((PAYLOADS / provider).glob("*.json")):
        example = json.loads(path.read_text("utf-8"))
        if example["transport"] != "json" or example["headers"]:
            continue
        payload = example["payload"].encode()
        decoded = decode(adapters()[provider], payload, {"sendlog-tenant": "acme"}, 1, "acme")
        has_times = all(event["occurred_at"].year > 1970 for event in decoded.events)
        if decoded.events and not decoded.rejected and has_times:
            bodies.append(json.loads(payload))
            live += [event["event_id"] for event in decoded.events]
    assert len(bodies) > 2
    for name, text in {
        "lines": "\n".join(json.dumps(body, indent=indent) for body in bodies),
        "joined": "".join(json.dumps(body, indent=indent) for body in bodies),
        "list": json.dumps(bodies, indent=indent),
    }.items():
        if name == "list" and provider == "sendgrid":
            continue  # its bodies are lists themselves
        file = tmp_path / name
        file.write_bytes(gzip.compress(text.encode()) if name == "joined" else text.encode())
        records, bad = imported(read(file, provider), provider)
        assert not bad
        ids = [event["event_id"] for record in records for event in record.events]
        assert (name, sorted(ids)) == (name, sorted(live))


def test_a_bad_first_line_does_not_cost_the_rest(tmp_path):
    file = tmp_path / "x.ndjson"
    good = json.dumps({"RecordType": "Delivery", "MessageID": "1", "Recipient": "a@example.org",
                       "DeliveredAt": "2025-05-06T07:10:11Z"})  # fmt: skip
    file.write_text(f'{{"RecordType": "Del\n{good}\n\n{{}}\n{good}\n')
    records, bad = imported(read(file, "postmark"), "postmark")
    assert [record.source.line for record in records] == [2, 5]
    assert [line.line for line in bad] == [1, 4]


@pytest.mark.parametrize(
    "content",
    [b"\x00\xff\xfe", b"[1, 2, {}]", b"{", b"[[[[", b'a,b\n"', b"{}" * 3, b"\x1f\x8bnot gzip",
     b"[" * 100_000, b"a,b\n1,2,3\n", b"x=1", b"event,email,processed\n,,\n",
     b"event,id\ndelivered," + b"[" * 9000, b"a," + b"b" * 200_000],
)  # fmt: skip
@pytest.mark.parametrize("provider", ["ses", "sendgrid", "twilio", "mailgun"])
def test_whatever_a_file_has_is_read_or_named_and_never_an_error(content, provider, tmp_path):
    file = tmp_path / "x"
    file.write_bytes(content)
    records, bad = imported(read(file, provider), provider)
    assert not records
    assert bad or content == b"{}" * 3 or provider


def test_a_folder_is_read_by_name_with_folders_in_it_and_without_hidden_files(tmp_path):
    for name in ("2025/06/b", "2025/05/a", ".git/x", "2025/.DS_Store", "c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    names = [str(path.relative_to(tmp_path)) for path in files_of([tmp_path])]
    assert names == ["2025/05/a", "2025/06/b", "c"]
    with pytest.raises(ImportSourceError, match="no such file"):
        files_of([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImportSourceError, match="no file in this folder"):
        files_of([tmp_path / "empty"])


def test_a_mailbox_and_a_mail_by_itself_are_mails(tmp_path):
    items = read(REPORTS, "reports")
    assert [item.payload for item in items] == list(mails().values())
    one = tmp_path / "mail.eml"
    one.write_bytes(mails()["qmail"])
    [item] = read(one, "reports")
    assert item.payload == mails()["qmail"]


def test_a_file_cannot_say_whose_its_payloads_are():
    [first, *_] = read(EXPORTS / "twilio" / "topic.ndjson", "twilio")
    assert first.headers == {"x-callback-query": "message_id=msg-1"}
    [record], _ = imported([first], "twilio")
    assert dict(record.headers)["sendlog-tenant"] == b"acme"
    assert dict(record.headers)["sendlog-recorded-at"] == b"1746515411345"
    [record], _ = imported([first], "twilio", shared=True)
    assert "sendlog-tenant" not in dict(record.headers)
    assert dict(record.headers)["sendlog-default-tenant"] == b"acme"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-05-06 07:10:11", "2025-05-06T07:10:11+00:00"),
        ("2025-05-06T09:10:11+02:00", "2025-05-06T07:10:11+00:00"),
        ("Tue, 06 May 2025 07:10:11 +0000", "2025-05-06T07:10:11+00:00"),
        ("2025-05-06 07:10:11 UTC", "2025-05-06T07:10:11+00:00"),
        ("2025-05-06 07:10:11.5 +0000 UTC", "2025-05-06T07:10:11.500000+00:00"),
    ],
)
def test_times_of_exports(text, expected):
    assert export_time(text).isoformat() == expected


@pytest.mark.parametrize(
    "text", ["", "5/6/2025 7:10", "soon", "0001-01-01T00:00:00-14:00", "1925-05-06"]
)
def test_a_time_that_may_be_two_or_none_is_refused(text):
    with pytest.raises(UnreadableError):
        export_time(text)


def test_a_record_has_the_time_at_which_it_came_only_if_the_file_says_it():
    """Else the log learns of it now, and a row that the live feed made keeps its own."""
    [item, *_] = read(EXPORTS / "ses/2025/05/06/log-1-2025-05-06-07-08-09", "ses")
    [record], _ = imported([item], "ses")
    assert dict(record.headers) == {"sendlog-tenant": b"acme"}
    [item, *_] = read(EXPORTS / "twilio" / "messages.csv", "twilio")
    [record], _ = imported([item], "twilio")
    assert dict(record.headers)["sendlog-recorded-at"] == b"1746515411000"
