CREATE MATERIALIZED VIEW mv_events_to_0_1 TO events_0_1 AS
SELECT * FROM events_0_0;
