-- Which provider delivers best, and fastest?
-- A row is a channel and provider. `failed` is what will never arrive, for whatever reason;
-- `complaints` are people's who called it spam, of 1,000 delivered. `median_s` and `p95_s` are
-- seconds from sent to delivered, of what was reported.
SELECT
    channel,
    provider,
    count() AS messages,
    round(100 * countIf(delivered) / messages, 2) AS percent_delivered,
    round(100 * countIf(failed) / messages, 2) AS percent_failed,
    round(1000 * countIf(complained) / nullIf(countIf(delivered), 0), 2) AS complaints,
    quantileExactIf(0.5)(seconds, seconds IS NOT NULL) AS median_s,
    quantileExactIf(0.95)(seconds, seconds IS NOT NULL) AS p95_s
FROM (
    SELECT
        'email' AS channel, provider, delivered_at IS NOT NULL AND status != 'Bounce' AS delivered,
        status IN ('Bounce', 'Invalid') AS failed, complained_at IS NOT NULL AS complained,
        if(delivered_at >= sent_at AND NOT delivered_inferred,
            dateDiff('millisecond', sent_at, delivered_at) / 1000, NULL) AS seconds
    FROM email_log
    WHERE tenant_id = {tenant:String} AND date >= {since:DateTime64(3, 'UTC')} AND provider != ''
    UNION ALL
    SELECT
        'sms' AS channel, provider, status IN ('Delivered', 'Received') AS delivered,
        status IN ('Rejected', 'Undelivered', 'Failed') AS failed, false AS complained,
        if(delivered_at >= sent_at AND NOT delivered_inferred,
            dateDiff('millisecond', sent_at, delivered_at) / 1000, NULL) AS seconds
    FROM sms_log
    WHERE tenant_id = {tenant:String} AND date >= {since:DateTime64(3, 'UTC')} AND provider != ''
)
GROUP BY channel, provider
ORDER BY channel, percent_delivered DESC, provider
