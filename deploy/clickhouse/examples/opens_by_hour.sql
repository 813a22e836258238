-- At what time of day do people open what we mail?
-- A row is an hour of the day in UTC, 0 to 23. `opens` are by people, each time anew; `first_opens`
-- only the first of each message and recipient since then: when a message has done its work.
-- For local time give a zone to the function: toHour(occurred_at, 'Europe/Zurich').
SELECT
    toHour(occurred_at) AS hour,
    count() AS opens,
    countIf(nth = 1) AS first_opens,
    round(100 * opens / sum(opens) OVER (), 2) AS percent
FROM (
    SELECT
        min(occurred_at) AS occurred_at,
        row_number() OVER (PARTITION BY message_id, recipient ORDER BY occurred_at, event_id) AS nth
    FROM events
    WHERE tenant_id = {tenant:String} AND channel = 'email' AND kind = 'open'
        AND events.occurred_at >= {since:DateTime64(3, 'UTC')} AND NOT ifNull(machine, false)
    GROUP BY message_id, recipient, event_id -- a fact that came twice counts once
)
GROUP BY hour
ORDER BY hour
