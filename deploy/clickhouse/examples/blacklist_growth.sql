-- How does the blacklist grow, and how much of it is reset?
-- A row is a week by its Monday and a rule: `added` addresses, of which `reset` were lifted by hand
-- since, `ended` by themselves (an expiry, a new subscription), and the others `stand`. A high
-- `percent_reset` of a rule means that it lists people who are still there.
SELECT
    toMonday(occurred_at) AS week,
    rule,
    count() AS added,
    countIf(ended_by = 'reset') AS reset,
    countIf(ended_by IN ('expired', 'resubscribed')) AS ended,
    countIf(ended_by = '') AS stand,
    round(100 * reset / added, 2) AS percent_reset
FROM (
    SELECT
        rule, occurred_at, change,
        minIf((occurred_at, change), change != 'added') OVER (
            PARTITION BY channel, address, rule ORDER BY occurred_at, change != 'added'
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        ).2 AS ended_by
    FROM suppression_history FINAL
    WHERE tenant_id = {tenant:String} AND change NOT IN ('refused', 'extended')
)
WHERE change = 'added' AND occurred_at >= {since:DateTime64(3, 'UTC')}
GROUP BY week, rule
ORDER BY week, rule
