from __future__ import annotations

import sys

from .conftest import ROOT, Extract

ROW = """
from pydantic import BaseModel
from teal import *
class Row(BaseModel):
    id: str
    n: int
"""


def test_the_example_loads_unchanged(extract: Extract) -> None:
    document = extract({}, ROOT / "examples/events-py")
    assert document["warnings"] == [] and "error" not in document
    old, new = document["tables"]
    assert (old["version"], old["orderBy"]) == ("0.0", ["`id`"])
    assert (new["version"], new["orderBy"]) == ("0.1", ["`id`", "`created_at`"])
    assert new["location"]["declaration"] == "events_v1"
    (view,) = document["views"]
    assert view["select"] == "SELECT * FROM events"
    assert view["selectTables"] == [{"name": "events", "version": "0.0"}]
    assert view["target"] == {"name": "events", "version": "0.1"}


def test_engines_and_options_reach_the_document(extract: Extract) -> None:
    document = extract(
        f"""{ROW}
from moose_lib.blocks import ReplacingMergeTreeEngine
table = OlapTable[Row]("t", config=OlapConfig(
    version="1.2", order_by_expression="(id, n)", partition_by="n % 4", database="db",
    primary_key_expression="id", settings={{"index_granularity": "1024"}}, ttl="toDate(n) + 1",
    engine=ReplacingMergeTreeEngine(ver="n"), life_cycle=LifeCycle.DELETION_PROTECTED,
    indexes=[OlapConfig.TableIndex(name="i", expression="n", type="set", arguments=["100"])],
    projections=[TableProjection(name="p", body="SELECT n ORDER BY n")],
))
assert f"{{table.cols.id}}" == "`id`" and table.physical_name == "t_1_2"
"""
    )
    (table,) = document["tables"]
    assert table["engine"] == {"name": "ReplacingMergeTree", "arguments": ["`n`"]}
    assert table["orderBy"] == ["id, n"]
    assert table["indexes"][0]["type"] == "set(100)"
    assert table["lifeCycle"] == "DELETION_PROTECTED"
    assert table["database"] == "db"


def test_settings_may_be_numbers_and_booleans(extract: Extract) -> None:
    document = extract(
        f"""{ROW}
t = OlapTable[Row]("t", config=OlapConfig(order_by_fields=["id"], settings={{
    "index_granularity": 4096, "ratio": 0.5, "on": True, "off": False, "text": "x"}}))
"""
    )
    assert "error" not in document, document
    assert document["tables"][0]["settings"] == {
        "index_granularity": "4096",
        "ratio": "0.5",
        "on": "1",
        "off": "0",
        "text": "x",
    }


def test_a_view_says_of_which_database_its_tables_are(extract: Extract) -> None:
    document = extract(
        f"""{ROW}
a = OlapTable[Row]("a", OlapConfig(order_by_fields=["id"], database="db", version="0.1"))
b = OlapTable[Row]("b", OlapConfig(order_by_fields=["id"]))
MaterializedView[Row](MaterializedViewOptions(
    select_statement="SELECT * FROM b", select_tables=[b], materialized_view_name="mv",
), target_table=a)
"""
    )
    (view,) = document["views"]
    assert view["target"] == {"name": "a", "version": "0.1", "database": "db"}
    assert view["selectTables"] == [{"name": "b"}]


def error_of(extract: Extract, text: str) -> dict[str, object]:
    document = extract(ROW + text)
    assert "error" in document, document
    error: dict[str, object] = document["error"]
    return error


def test_a_table_declared_twice_is_an_error_that_names_the_first(extract: Extract) -> None:
    error = error_of(
        extract,
        'a = OlapTable[Row]("t", config=OlapConfig(version="1"))\n'
        'b = OlapTable[Row]("t", config=OlapConfig(version="1"))\n',
    )
    assert "name t and version 1 already exists" in str(error["message"])
    assert "app/models.py:7" in str(error["message"])
    location = error["location"]
    assert isinstance(location, dict)
    assert (location["file"], location["line"]) == ("app/models.py", 8)
    # Python 3.10 does not know columns.
    assert location.get("column") == (5 if sys.version_info >= (3, 11) else None)


def test_wrong_options_are_named(extract: Extract) -> None:
    for text, said in [
        ('OlapTable[Row]("t", config=OlapConfig(order_by=["id"]))', "order_by"),
        ('OlapTable[Row]("t", config=OlapConfig(order_by_fields=["nosuch"]))', "nosuch"),
        ('OlapTable[Row]("t", config=OlapConfig(engine="MergeTre"))', "MergeTre"),
        (
            'e = ReplacingMergeTreeEngine(is_deleted="n")\n'
            'OlapTable[Row]("t", config=OlapConfig(engine=e))',
            "ver",
        ),
        (
            'c = OlapConfig(order_by_fields=["id"], order_by_expression="n")\n'
            'OlapTable[Row]("t", config=c)',
            "exclude",
        ),
        ('OlapTable("t")', "no row model"),
        ('OlapTable[Row]("t", config=OlapConfig(version="1" * 20))', "is no version"),
        ('OlapConfig(life_cycle="DELETION_PROTECT")', "DELETION_PROTECTED"),
        ('OlapConfig(settings={"a": [1]})', "settings.a"),
        ('TableIndex(name="i", expression="n", type="minmax", granularity="4")', "granularity"),
    ]:
        assert said in str(error_of(extract, text)["message"]), text


def test_an_option_of_a_wrong_kind_is_told_with_what_to_write(extract: Extract) -> None:
    for text, instead in [
        ('OlapConfig(order_by_fields="id")', 'write order_by_fields=["id"]'),
        ("OlapConfig(version=1)", 'write version="1"'),
        ("OlapConfig(nosuch=1)", "the options are version, "),
    ]:
        error = error_of(extract, text)
        assert str(error["hint"]).startswith(instead), error
        location = error["location"]
        assert isinstance(location, dict)
        assert location["file"] == "app/models.py"


def test_a_view_must_fit_its_target(extract: Extract) -> None:
    error = error_of(
        extract,
        """
class Other(BaseModel):
    id: str
t = OlapTable[Row]("t")
MaterializedView[Other](MaterializedViewOptions(
    select_statement="SELECT 1", select_tables=[t], materialized_view_name="v"), target_table=t)
""",
    )
    assert "rows are of Other" in str(error["message"])


def test_a_syntax_error_has_its_place(extract: Extract) -> None:
    document = extract("x = 1\ny = = 2\n")
    assert document["error"]["location"] == {"file": "app/models.py", "line": 2, "column": 5}


def test_an_error_in_the_users_code_has_the_users_own_trace(extract: Extract) -> None:
    document = extract("def f():\n    raise ValueError('no luck')\nf()\n")
    error = document["error"]
    assert error["message"] == "ValueError: no luck"
    assert error["location"] == {"file": "app/models.py", "line": 2}
    assert "app/models.py:3, in <module>" in error["trace"]
    assert "teal/extract.py" not in error["trace"]


def test_a_model_that_prints_or_exits_still_gives_a_document(extract: Extract) -> None:
    assert len(extract(ROW + 'print("hello")\nt = OlapTable[Row]("t")')["tables"]) == 1
    assert "sys.exit" in extract("import sys\nsys.exit(3)\n")["error"]["message"]


def test_what_teal_has_no_use_for_is_ignored_with_one_warning(extract: Extract) -> None:
    document = extract(
        """
from moose_lib import IngestApi, OlapTable, Stream, Key
from moose_lib.dmv2 import Workflow
from pydantic import BaseModel
class Row(BaseModel):
    id: Key[str]
stream = Stream[Row]("s", config=dict(a=1))
IngestApi[Row]("api", destination=stream)
@Workflow("w").task
def task(): ...
t = OlapTable[Row]("t")
"""
    )
    assert "error" not in document, document
    (warning,) = document["warnings"]
    assert "IngestApi, Stream, Workflow" in warning["message"]
    assert len(document["tables"]) == 1


def test_a_target_by_name_is_a_table_without_a_version(extract: Extract) -> None:
    document = extract(
        ROW
        + """
t = OlapTable[Row]("t")
MaterializedView[Row](MaterializedViewOptions(select_statement=f"SELECT {t.cols.id} FROM t",
    select_tables=[t], materialized_view_name="v", table_name="made", order_by_fields=["id"]))
"""
    )
    assert "error" not in document, document
    assert [table["name"] for table in document["tables"]] == ["t", "made"]
    assert "without a version" in document["warnings"][0]["message"]
    assert document["views"][0]["select"] == "SELECT `id` FROM t"


def test_files_with_names_that_cannot_be_imported_load_too(extract: Extract) -> None:
    document = extract({"my-table.py": ROW + 't = OlapTable[Row]("t")'})
    assert document["tables"][0]["location"]["file"] == "app/my-table.py"
