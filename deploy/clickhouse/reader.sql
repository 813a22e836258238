-- A read-only user for analysts: sees the logs, the figures and the facts of all tenants, changes
-- nothing, and cannot take the server for itself. Run by an administrator after `sendlog migrate`:
--
--   clickhouse-client --param_password='…' --queries-file reader.sql
--
-- There is no password in here, and none is made up: without the parameter the statement fails.
-- With a database of another name: sed 's/sendlog\./NAME./g'. Run it again after an update, for what
-- is new; what is there stays. Users walled to a tenant (tenant_reader.sql) come before: this grants
-- to them, too.

-- Two: settings of a session may be changed, as BI tools do, within these bounds; data may not.
-- Zero means no limit, and is less than MIN.
CREATE SETTINGS PROFILE IF NOT EXISTS sendlog_reading SETTINGS
    readonly = 2,
    max_execution_time = 60 MIN 1 MAX 600,
    max_memory_usage = 4000000000 MIN 1 MAX 4000000000,
    max_bytes_before_external_group_by = 2000000000 MIN 1,
    max_bytes_before_external_sort = 2000000000 MIN 1,
    max_threads = 4 MIN 1 MAX 4,
    max_concurrent_queries_for_user = 8 READONLY,
    priority = 10 MIN 10;

CREATE ROLE IF NOT EXISTS sendlog_reader SETTINGS PROFILE 'sendlog_reading';

-- What analysts ask.
GRANT SELECT ON sendlog.email_log TO sendlog_reader;
GRANT SELECT ON sendlog.sms_log TO sendlog_reader;
GRANT SELECT ON sendlog.email_daily TO sendlog_reader;
GRANT SELECT ON sendlog.sms_daily TO sendlog_reader;
GRANT SELECT ON sendlog.retries TO sendlog_reader;
GRANT SELECT ON sendlog.suppressions TO sendlog_reader;
GRANT SELECT ON sendlog.suppression_history TO sendlog_reader;
GRANT SELECT ON sendlog.policies TO sendlog_reader;
GRANT SELECT ON sendlog.events TO sendlog_reader;
GRANT SELECT ON sendlog.edges TO sendlog_reader;
GRANT SELECT ON sendlog.unmatched TO sendlog_reader;
GRANT SELECT ON sendlog.record_names TO sendlog_reader;
-- What those views read: a view reads with the rights of who asks it.
GRANT SELECT ON sendlog.email_log_state TO sendlog_reader;
GRANT SELECT ON sendlog.sms_log_state TO sendlog_reader;
GRANT SELECT ON sendlog.policy_history TO sendlog_reader;
-- Withheld: sendlog.api_keys, whose hashes are nobody's business.
-- Withheld: sendlog.ended_sessions, sendlog.saved_views, in which nobody but the API looks.
-- Withheld: sendlog.backup_offsets, by which only a restored backup is completed.
-- Withheld: sendlog.forgotten, sendlog.forgetting, which are about who must not be known any more.
-- Withheld: sendlog.audit, which its administrators read by the API and the pages.
-- Withheld: sendlog.dead_letters, raw records of which nobody knows what, or whose, they are.
-- Withheld: sendlog.raw_records, the same of all that was read.
-- Withheld: sendlog.records, by which Sendlog itself finds the messages about a record.
-- Withheld: sendlog.email_log_fold, sendlog.sms_log_fold, sendlog.records_fill, sendlog.edges_fill,
-- Withheld: sendlog.unmatched_fill, sendlog.record_names_fill, which only move what is inserted.

CREATE USER IF NOT EXISTS sendlog_analyst
    IDENTIFIED WITH sha256_password BY {password:String}
    DEFAULT ROLE sendlog_reader;
GRANT sendlog_reader TO sendlog_analyst;
