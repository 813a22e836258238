-- How many opens are by machines, and at which provider are they told apart?
-- A row is a provider, of the messages that somebody or something opened: by a `machine` only (a
-- privacy proxy, a scanner), by `people` only, or by `both`. `percent_machine` is what an open rate
-- would overstate if machines counted. None at a provider means that it does not tell.
SELECT
    provider,
    count() AS messages,
    countIf(machine_opened_at IS NOT NULL AND opened_at IS NULL) AS machine,
    countIf(machine_opened_at IS NULL AND opened_at IS NOT NULL) AS people,
    countIf(machine_opened_at IS NOT NULL AND opened_at IS NOT NULL) AS both,
    round(100 * machine / messages, 2) AS percent_machine
FROM email_log
WHERE tenant_id = {tenant:String} AND date >= {since:DateTime64(3, 'UTC')}
    AND (machine_opened_at IS NOT NULL OR opened_at IS NOT NULL)
GROUP BY provider
ORDER BY messages DESC, provider
