-- An analyst who sees one tenant only, whatever is asked: the role of reader.sql, which goes first
-- when this user is made, behind a wall of row policies. The tenant's name comes in for TENANT:
--
--   sed 's/TENANT/acme/g' tenant_reader.sql | clickhouse-client --param_password='…' --multiquery
--
-- A view reads with the rights of who asks it, so that the policies of the tables that hold rows
-- wall the views, too.

-- Without a role: one named here would be granted at once, before there is a wall.
CREATE USER IF NOT EXISTS `sendlog_TENANT`
    IDENTIFIED WITH sha256_password BY {password:String};

CREATE ROW POLICY IF NOT EXISTS `sendlog_TENANT` ON
    sendlog.events,
    sendlog.edges,
    sendlog.unmatched,
    sendlog.record_names,
    sendlog.email_log_state,
    sendlog.sms_log_state,
    sendlog.suppression_history
    USING tenant_id = 'TENANT' TO `sendlog_TENANT`;

-- '*' is the policy of all tenants that have none of their own.
CREATE ROW POLICY IF NOT EXISTS `sendlog_TENANT` ON sendlog.policy_history
    USING tenant_id IN ('TENANT', '*') TO `sendlog_TENANT`;

-- Only now, behind the wall, the right to read.
GRANT sendlog_reader TO `sendlog_TENANT`;

-- Everybody else goes on seeing everything, as a server does by default. If yours has
-- users_without_row_policies_can_read_rows = false, every user with no policy, also the workers',
-- would see nothing from now on: give those a policy each first, USING true TO that user.
