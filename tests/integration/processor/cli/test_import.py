"""`sendlog import` beside a live feed, through a real Kafka and worker: the rows are the feed's."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from processor.kafka.producer import sync_producer
from tests.system import DATABASE, read, running, wait_for

#: The same history of two tenants: one is imported, too.
TENANTS = ("alone", "both")
DAY = "2026-10-05"
ANN, BOB, CY = "ann@example.org", "bob@example.org", "cy@example.org"
NUMBER = "+12015550123"


def ms(time):
    return int(datetime.fromisoformat(f"{DAY}T{time}").replace(tzinfo=UTC).timestamp() * 1000)


def ses(word, member, time, to=ANN, message_id="s-1", **part):
    return {
        "eventType": word, member: {"timestamp": f"{DAY}T{time}Z", **part},
        "mail": {"timestamp": f"{DAY}T07:00:00.000Z", "messageId": f"ses-{message_id}",
                 "destination": [to], "tags": {"message_id": [message_id]}},
    }  # fmt: skip


SES = [
    ses("Send", "send", "07:00:00.000"),
    ses("Delivery", "delivery", "07:00:02.120", recipients=[ANN], smtpResponse="250 2.0.0 OK"),
    ses("Open", "open", "08:00:00.000", userAgent="Mozilla/5.0"),
    ses("Open", "open", "08:10:00.000", userAgent="Mozilla/5.0"),
    ses("Bounce", "bounce", "07:00:03.000", BOB, "s-2", bounceType="Permanent",
        bounceSubType="General", bouncedRecipients=[
            {"emailAddress": BOB, "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 unknown"}]),
]  # fmt: skip
SENDGRID = [
    {"event": word, "email": CY, "timestamp": ms(time) // 1000, "message_id": "g-1",
     "sg_event_id": f"e-{number}", "sg_message_id": "AbC1.filter0001.2.3-0", **more}
    for number, (word, time, more) in enumerate([
        ("processed", "07:00:00", {}),
        ("delivered", "07:00:01", {"response": "250 2.0.0 OK"}),
        ("open", "09:00:00", {"useragent": "Mozilla/5.0", "sg_machine_open": False}),
        ("open", "09:30:00", {"useragent": "Mozilla/5.0", "sg_machine_open": False}),
    ])
]  # fmt: skip
#: Without the mailer's id: its rows are under SendGrid's.
SENDGRID_CSV = f"""processed,message_id,event,subject,email,reason,url,user_agent,type
{DAY} 07:00:00,AbC1.filter0001.2.3-0,processed,Fair,{CY},,,,
{DAY} 07:00:01,AbC1.filter0001.2.3-0,delivered,Fair,{CY},250 2.0.0 OK,,,
{DAY} 09:00:00,AbC1.filter0001.2.3-0,open,Fair,{CY},,,Mozilla/5.0,
{DAY} 09:30:00,AbC1.filter0001.2.3-0,open,Fair,{CY},,,Mozilla/5.0,
"""
TWILIO_CSV = f"""From,To,Body,Status,SentDate,ErrorCode,Sid,Direction
+15005550006,{NUMBER},Hello,delivered,{DAY}T07:00:00Z,,SM1,outbound-api
{NUMBER},+15005550006,Thanks,received,{DAY}T08:00:00Z,,SM2,inbound
"""


def feed(tenant):
    """Yield the records of the live feed, as the gateway publishes them."""
    headers = [("sendlog-tenant", tenant.encode())]
    for body in SES:
        yield "email.events.ses", json.dumps(body).encode(), headers
    yield "email.events.sendgrid", json.dumps(SENDGRID).encode(), headers
    for word, time in (("sent", "07:00:01"), ("delivered", "07:00:04")):
        form = urlencode({"MessageSid": "SM1", "MessageStatus": word, "To": NUMBER})
        arrived = [("sendlog-recorded-at", str(ms(time)).encode())]
        yield "sms.events.twilio", form.encode(), headers + arrived
    for channel, message_id, recipient in (("email", "s-1", ANN), ("email", "g-1", CY)):
        yield f"{channel}.sends", json.dumps({
            "channel": channel, "kind": "sent", "tenant_id": tenant, "message_id": message_id,
            "recipient": recipient, "occurred_at": f"{DAY}T06:59:59Z", "subject": "Fair",
        }).encode(), ()  # fmt: skip


def log_rows(system, tenant):
    """Return all columns of a tenant's rows but the tenant, and when each was first heard of."""
    rows, arrived = {}, {}
    for log in ("email_log", "sms_log"):
        sql = f"SELECT * FROM {DATABASE}.{log} WHERE tenant_id = {{tenant:String}}"
        for row in system.rows(sql, tenant=tenant):
            del row["tenant_id"]
            # The feeds of two tenants arrive some milliseconds apart.
            arrived[log, row["message_id"], row["recipient"]] = row.pop("first_recorded_at")
            rows[log, row["message_id"], row["recipient"]] = row
    return rows, arrived


def event_count(system, tenant):
    sql = f"SELECT uniqExact(event_id) FROM {DATABASE}.events WHERE tenant_id = {{tenant:String}}"
    return system.value(sql, tenant=tenant)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("import")) as system:
        system.worker(SENDLOG_POLICY="false")
        with sync_producer(system.kafka) as send:
            for tenant in TENANTS:
                for topic, value, headers in feed(tenant):
                    send(topic, value, headers)
        system.wait_until_committed()
        yield system


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    firehose = folder / "ses" / "2026" / "10" / "05"
    firehose.mkdir(parents=True)
    (firehose / "log-1").write_text("".join(map(json.dumps, SES[:2])))
    (firehose / "log-2").write_text("\n".join(map(json.dumps, SES[2:])) + "\n")
    (folder / "activity.csv").write_text(SENDGRID_CSV)
    (folder / "messages.csv").write_text(TWILIO_CSV)
    return folder


def run(system, *arguments, check=True, **options):
    return system.command("import", *map(str, arguments), check=check, **options)


def test_a_feed_and_an_import_of_its_history_give_the_rows_of_the_feed_alone(system, exports):
    before, _ = log_rows(system, "alone")
    assert {key[1]: row["status"] for key, row in before.items()} == {
        "s-1": "Open", "s-2": "Bounce", "g-1": "Open", "SM1": "Delivered",
    }  # fmt: skip
    both = log_rows(system, "both")
    assert both[0] == before
    assert before["email_log", "g-1", CY]["open_count"] == 2

    output = run(system, exports / "ses", "--provider", "ses", "--tenant", "both")
    assert "events: 2 open, 1 sent, 1 delivery, 1 bounce; 2026-10-05 07:00" in output
    assert output.endswith("published 5 records\n")
    output = run(system, exports / "activity.csv", "--provider", "sendgrid", "--tenant", "both")
    assert output == "left out: 4 in the log already\npublished 0 records\n"
    output = run(system, exports / "messages.csv", "--provider", "twilio", "--tenant", "both")
    assert output == (
        "left out: 1 in the log already\nleft out: 1 incoming messages\npublished 0 records\n"
    )
    system.wait_until_committed()
    assert log_rows(system, "both") == both
    assert event_count(system, "both") == event_count(system, "alone")


def test_rows_that_the_log_is_not_asked_about_add_no_status_but_count_again(system, exports):
    """What --no-ask-log gives up: such rows name no message of the mailer's, and are joined."""
    with sync_producer(system.kafka) as send:
        for topic, value, headers in feed("unasked"):
            send(topic, value, headers)
    for file, provider in (("activity.csv", "sendgrid"), ("messages.csv", "twilio")):
        run(system, exports / file, "--provider", provider, "--tenant", "unasked", "--no-ask-log")
    system.wait_until_committed()
    (rows, _), (alone, _) = log_rows(system, "unasked"), log_rows(system, "alone")
    assert {key: row["status"] for key, row in rows.items()} == {
        key: row["status"] for key, row in alone.items()
    }
    assert len(rows) == len(alone)


def test_an_import_alone_gives_the_feeds_rows_and_may_be_run_again(system, exports):
    for _ in range(2):
        run(system, exports / "ses", "--provider", "ses", "--tenant", "late")
        run(system, exports / "messages.csv", "--provider", "twilio", "--tenant", "late")
    system.wait_until_committed()
    (late, _), (alone, _) = log_rows(system, "late"), log_rows(system, "alone")
    bounce = "email_log", "s-2", BOB
    assert late[bounce] == alone[bounce]
    ann = "email_log", "s-1", ANN
    assert late[ann]["open_count"] == alone[ann]["open_count"] == 2
    assert late["sms_log", "SM1", NUMBER]["status"] == "Delivered"
    assert event_count(system, "late") == 6


def test_a_state_leaves_out_what_is_done_until_a_file_changes(system, exports, tmp_path):
    state, file = tmp_path / "state.json", tmp_path / "more.ndjson"
    file.write_text(json.dumps(SES[0]) + "\n")
    options = (file, "--provider", "ses", "--tenant", "state", "--state", state)
    assert run(system, *options).endswith("published 1 records\n")
    assert run(system, *options) == "published 0 records\n"
    file.write_text("".join(json.dumps(body) + "\n" for body in SES[:2]))
    assert run(system, *options).endswith("published 2 records\n")
    done = run(system, file, "--provider", "ses", "--tenant", "x", "--state", state, check=False)
    assert done.returncode == 1
    assert (
        "is of an import to email.events.ses of state, not to email.events.ses of x" in done.stderr
    )


def test_a_preview_publishes_nothing_and_names_the_first_problems(system, exports, tmp_path):
    file = tmp_path / "x.ndjson"
    file.write_text(json.dumps(SES[0]) + '\n{"eventType": "Sen\n' + json.dumps(SES[4]) + "\n")
    before = len(read(system.broker.bootstrap, "email.events.ses"))
    done = run(
        system, file, "--provider", "ses", "--tenant", "acme", "--preview",
        "--until", f"{DAY}T07:00:03", check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{file}, line 2: not JSON" in done.stderr
    assert done.stdout == (
        f"  as {file}, line 1: sent to email.events.ses\n"
        "events: 1 sent; 2026-10-05 07:00 to 2026-10-05 07:00\n"
        "left out: 1 outside of --since and --until\n"
        "bad: 1 lines\n"
        "would publish 1 records\n"
    )
    assert len(read(system.broker.bootstrap, "email.events.ses")) == before


def test_standard_input_is_read_and_bad_lines_do_not_stop_the_rest(system):
    text = f"{{\n{json.dumps(SES[0])}\n[]\n{json.dumps(SES[1])}\n"
    done = run(system, "-", "--provider", "ses", "--tenant", "piped", input=text, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "published 2 records")
    wait_for(lambda: event_count(system, "piped") == 2, "both events")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["/no/such", "--provider", "ses", "--tenant", "a"], "/no/such: no such file or folder"),
        (["-", "--provider", "pigeon", "--tenant", "a"], "--provider 'pigeon' has no adapter"),
        (["-", "--provider", "ses", "--tenant", " "], "--tenant names nobody"),
        (["-", "--provider", "ses", "--tenant", "a", "--until", "x"], "--until 'x' is no time"),
    ],
)
def test_what_cannot_be_imported_is_one_line(system, arguments, problem):
    done = run(system, *arguments, check=False, input="")
    assert done.returncode == 1
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1
