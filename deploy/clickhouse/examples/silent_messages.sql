-- Which emails were sent, and nothing was heard of them for a day?
-- A row is a message, the longest silent first. Neither delivered nor bounced, and no retry is due:
-- a provider's feed may be broken, or does not report deliveries. `silent_h` are hours.
SELECT
    provider, recipient, message_id, subject, sent_at, last_event_at, status_reason,
    dateDiff('hour', last_event_at, now64(3)) AS silent_h
FROM email_log
WHERE tenant_id = {tenant:String} AND date >= {since:DateTime64(3, 'UTC')}
    AND status = 'Sent' AND sent_at IS NOT NULL AND next_retry_at IS NULL
    AND last_event_at <= now64(3) - INTERVAL 24 HOUR
ORDER BY last_event_at, recipient, message_id
LIMIT 1000
