-- Do retries help, and up to which attempt?
-- A row is the number of an attempt after the first. Of the retries that were due or made, `asked`
-- were asked for by Sendlog, `answered` by the mailer with a send, and `delivered` before another
-- attempt was made; `cancelled` were needless or refused, after `exhausted` there was none left.
SELECT
    attempt,
    count() AS retries,
    countIf(asked_at IS NOT NULL) AS asked,
    countIf(answered_at IS NOT NULL) AS answered,
    countIf(
        delivered_at >= answered_at AND (next_at IS NULL OR delivered_at < next_at)
    ) AS delivered,
    countIf(cancelled_at IS NOT NULL) AS cancelled,
    countIf(exhausted_at IS NOT NULL) AS exhausted,
    round(100 * delivered / nullIf(answered, 0), 2) AS percent_delivered
FROM (
    SELECT *, leadInFrame(answered_at) OVER (
        PARTITION BY message_id, recipient ORDER BY attempt
        ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
    ) AS next_at
    FROM retries
    WHERE tenant_id = {tenant:String}
) AS retry
INNER JOIN (
    SELECT message_id, recipient, delivered_at
    FROM email_log
    WHERE tenant_id = {tenant:String} AND date >= {since:DateTime64(3, 'UTC')}
) AS message USING (message_id, recipient)
GROUP BY attempt
ORDER BY attempt
