-- Which domains take longest to accept our mail?
-- A row is a domain with at least 5 reported deliveries, the slowest first: seconds from the first
-- `sent` to the first `delivery`, half of the messages within `median_s`, 95 of 100 within `p95_s`.
-- Long ones are greylisting, retries or a provider's queue.
SELECT
    substringIndex(recipient, '@', -1) AS domain,
    count() AS deliveries,
    quantileExact(0.5)(seconds) AS median_s,
    quantileExact(0.95)(seconds) AS p95_s,
    max(seconds) AS longest_s
FROM (
    SELECT recipient, dateDiff('millisecond', sent_at, delivered_at) / 1000 AS seconds
    FROM email_log
    WHERE tenant_id = {tenant:String} AND date >= {since:DateTime64(3, 'UTC')}
        AND delivered_at >= sent_at AND NOT delivered_inferred
)
GROUP BY domain
HAVING deliveries >= 5
ORDER BY p95_s DESC, median_s DESC, domain
LIMIT 50
