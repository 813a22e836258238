-- Of the emails of a week, how many arrived, were opened, and clicked?
-- A row is a week by its Monday, of the messages dated in it, whenever the rest happened: the last
-- weeks may still rise. Each stage holds those of the next, for a click implies an open, and an
-- open a delivery. Opens and clicks are people's.
SELECT
    toMonday(assumeNotNull(date)) AS week,
    count() AS messages,
    countIf(sent_at IS NOT NULL OR delivered_at IS NOT NULL) AS sent,
    countIf(delivered_at IS NOT NULL) AS delivered,
    countIf(opened_at IS NOT NULL) AS opened,
    countIf(clicked_at IS NOT NULL) AS clicked,
    round(100 * delivered / nullIf(sent, 0), 2) AS percent_delivered,
    round(100 * opened / nullIf(delivered, 0), 2) AS percent_opened,
    round(100 * clicked / nullIf(opened, 0), 2) AS percent_clicked
FROM email_log
WHERE tenant_id = {tenant:String} AND date >= {since:DateTime64(3, 'UTC')}
GROUP BY week
ORDER BY week
