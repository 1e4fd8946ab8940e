from pydantic import BaseModel
from moose_lib import OlapTable, Key, OlapConfig
class EventV1(BaseModel):
    id: Key[str]
    name: str
    created_at: str
events_v1 = OlapTable[EventV1]("events", config=OlapConfig(version="0.1", order_by_fields=["id", "created_at"]))
