from pydantic import BaseModel
from moose_lib import OlapTable, Key, OlapConfig
class EventV0(BaseModel):
    id: str
    name: str
    created_at: str
events = OlapTable[EventV0]("events", config=OlapConfig(version="0.0", order_by_fields=["id"]))
