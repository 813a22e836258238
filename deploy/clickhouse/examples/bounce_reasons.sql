-- Why do emails bounce?
-- A row is a class of bounce with the codes of the server that refused, the most frequent first.
-- `hard` is about the address, `block` about the sender or the message, `soft` means that retries
-- were used up, none that a provider refused to send at all. `example` is what one row says.
SELECT
    bounce_class,
    enhanced_status,
    smtp_code,
    count() AS messages,
    uniqExact(recipient) AS addresses,
    round(100 * messages / sum(messages) OVER (), 2) AS percent,
    min(status_reason) AS example
FROM email_log
WHERE tenant_id = {tenant:String} AND date >= {since:DateTime64(3, 'UTC')} AND status = 'Bounce'
GROUP BY bounce_class, enhanced_status, smtp_code
ORDER BY messages DESC, bounce_class, enhanced_status, smtp_code
LIMIT 100
