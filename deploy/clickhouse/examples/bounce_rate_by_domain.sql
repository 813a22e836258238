-- To which domains do we send in vain?
-- A row is a domain of recipients, the one with most bounces first. `messages` were handed to a
-- provider; `bounced` of them ended as Bounce: `hard` for the address, `blocked` for what we are or
-- sent, `gave_up` after the last retry, and the rest a provider refused to send. `percent` is the
-- share of those that bounced.
SELECT
    substringIndex(recipient, '@', -1) AS domain,
    count() AS messages,
    countIf(status = 'Bounce') AS bounced,
    countIf(status = 'Bounce' AND bounce_class = 'hard') AS hard,
    countIf(status = 'Bounce' AND bounce_class = 'block') AS blocked,
    countIf(status = 'Bounce' AND bounce_class = 'soft') AS gave_up,
    round(100 * bounced / messages, 2) AS percent
FROM email_log
WHERE tenant_id = {tenant:String} AND date >= {since:DateTime64(3, 'UTC')}
    AND status NOT IN ('Invalid', 'Skipped') AND provider != ''
GROUP BY domain
ORDER BY bounced DESC, messages DESC, domain
LIMIT 100
