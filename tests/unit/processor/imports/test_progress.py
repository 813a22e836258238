"""The state of an import: what is done, of which version of a file, and for which target."""

from __future__ import annotations

import os

import pytest

from processor.imports.files import STDIN
from processor.imports.history import HistoryImport
from processor.imports.payloads import BadLine, ImportSourceError, SourcePayload
from processor.imports.progress import ImportProgress
from schemas.providers import adapters


def test_what_is_done_is_known_to_the_next_run_until_the_file_changes(tmp_path):
    file, state = tmp_path / "a", tmp_path / "state"
    file.write_text("one")
    ImportProgress(state, "x").set_done(file, 7)
    assert ImportProgress(state, "x").done(file) == 7
    assert ImportProgress(state, "x").done(tmp_path / "a") == 7
    file.write_text("one two")
    assert ImportProgress(state, "x").done(file) == 0


def test_a_maildir_changes_with_its_mails(tmp_path):
    box, state = tmp_path / "box", tmp_path / "state"
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True)
        os.utime(box / name, (1, 1))
    ImportProgress(state, "x").set_done(box, 3)
    assert ImportProgress(state, "x").done(box) == 3
    (box / "new" / "mail").write_text("")
    assert ImportProgress(state, "x").done(box) == 0


def test_standard_input_and_no_state_know_nothing(tmp_path):
    progress = ImportProgress(None, "x")
    (tmp_path / "a").write_text("")
    progress.set_done(tmp_path / "a", 7)
    assert progress.done(tmp_path / "a") == 0
    stdin = type(tmp_path)(STDIN)
    kept = ImportProgress(tmp_path / "state", "x")
    kept.set_done(stdin, 7)
    assert kept.done(stdin) == 0
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2, "target": "x", "files": {}}'])
def test_a_file_that_is_no_state_is_named_and_left_alone(text, tmp_path):
    state = tmp_path / "state"
    state.write_text(text)
    with pytest.raises(ImportSourceError, match="is no state of an import"):
        ImportProgress(state, "x")
    assert state.read_text() == text


def test_a_state_of_another_target_is_refused(tmp_path):
    file, state = tmp_path / "a", tmp_path / "state"
    file.write_text("")
    ImportProgress(state, "x").set_done(file, 7)
    with pytest.raises(ImportSourceError, match="of an import to x, not to y"):
        ImportProgress(state, "y")


def test_a_payload_that_no_worker_would_take_is_a_bad_line():
    history = HistoryImport(adapter=adapters()["ses"], tenant="acme", max_record_bytes=10)
    [line] = history.records([SourcePayload("f", 3, b"x" * 11)])
    assert line == BadLine("f", 3, "a payload of 11 bytes, and the limit is 10")


def test_rows_of_a_shared_account_are_known_by_the_tenant_that_they_name():
    body = (b'[{"event": "delivered", "email": "A@Example.org", "timestamp": 1746515411, '
            b'"sg_message_id": "m", "tenant_id": "named"}]')  # fmt: skip
    asked = []
    history = HistoryImport(
        adapter=adapters()["sendgrid"], tenant="acme", shared=True,
        find_known=lambda marks, *_: set(asked.append(marks) or marks),
    )  # fmt: skip
    [result] = history.records([SourcePayload("f", 1, body, exact=False)])
    assert result.why == "in the log already"
    assert asked == [[("named", "delivery", "m", "a@example.org", 0)]]
