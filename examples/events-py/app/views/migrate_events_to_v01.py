from moose_lib import MaterializedView, MaterializedViewOptions
from app.tables.events import events
from app.tables.events_v01 import events_v1, EventV1
migrate_events_to_v01 = MaterializedView[EventV1](
    MaterializedViewOptions(materialized_view_name="mv_events_to_0_1",
                            select_statement=(f"SELECT * FROM {events.name}"), select_tables=[events]),
    target_table=events_v1)
