from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.records import files, transforms
from jobs.records import main as job
from jobs.records.errors import AuditError, CancelledError, ChangedError, ClaimError, InputError, JobError
from jobs.records.lake import Table
from jobs.records.ledger import Ledger
from jobs.records.main import Run
from jobs.records.tests.conftest import SHOPS, STAGES, Country, Folder, contract

D1, D2, D3 = "2024-01-01", "2024-01-02", "2024-01-03"
FIRST = {"a.csv": "id,name,sales\n1,Ada,1\n2,Bob,2\n3,Cy,3\n3,Cy,3.0\n,Dee,4\n"}
SECOND = {"a.csv": "id,name,sales\n1,Ada,1\n2,Bob,9\n4,Eve,5\n4,Eva,5\n"}


def counts(**some: int) -> dict[str, int]:
    return {
        **dict.fromkeys(("input", "validated", "invalid", "new", "changed", "unchanged", "duplicate", "deleted"), 0),
        **some,
    }


def rows(country: Country, stage: str, feed: str = "shops") -> list[tuple[Any, ...]]:
    """The rows of a table as text, in order, without the long hash."""
    frame = country.table(stage, feed)
    names = [name for name in frame.columns if name != "_hash"]
    return sorted(tuple(str(row[name]) for name in names) for row in frame.collect())


def everything(country: Country) -> dict[str, list[tuple[Any, ...]]]:
    return {stage: rows(country, stage) for stage in STAGES}


def branches(country: Country) -> list[str]:
    return [
        row["name"]
        for stage in STAGES
        for row in country.spark.table(f"{country.name_of(stage, 'shops')}.refs").collect()
        if row["name"] != "main"
    ]


def test_records_go_through_all_stages(country: Country) -> None:
    assert country.run(SHOPS, D1, FIRST) == counts(input=5, validated=4, invalid=1, new=3, duplicate=1)
    assert country.run(SHOPS, D2, SECOND) == counts(input=4, validated=2, invalid=2, changed=1, unchanged=1, deleted=1)

    file = f"shops/{D2}/a.csv"
    assert rows(country, "validated")[-1] == ("3", "Cy", "3.0", f"shops/{D1}/a.csv", "5", D1)
    assert rows(country, "invalid") == [
        (f"shops/{D1}/a.csv", "6", ",Dee,4", "id", "required", "None", D1),
        (file, "4", "4,Eve,5", "None", "conflict", '{"id":"4"}', D2),
        (file, "5", "4,Eva,5", "None", "conflict", '{"id":"4"}', D2),
    ]
    assert rows(country, "versioned") == [
        ("1", "Ada", "1.0", D1, "None", "True", f"shops/{D1}"),
        ("2", "Bob", "2.0", D1, D2, "False", f"shops/{D1}"),
        ("2", "Bob", "9.0", D2, "None", "True", f"shops/{D2}"),
        ("3", "Cy", "3.0", D1, D2, "False", f"shops/{D1}"),
    ]
    assert [row for row in rows(country, "curated") if row[3] == D2] == [
        ("1", "Ada", "1.0", D2, "unchanged"),
        ("2", "Bob", "9.0", D2, "changed"),
    ]
    assert branches(country) == []


def test_the_ledger_gets_counts_and_a_manifest_of_the_days_files(country: Country) -> None:
    made = country.run(SHOPS, D1, FIRST)
    item = country.job("shops", D1)
    assert {name: item[name] for name in made} == made
    assert (item["state"], item["commitState"], item["commitToken"], item["commitRevision"]) == (
        "running",
        "committed",
        1,
        1,
    )
    manifest = json.loads(country.objects.read(item["manifest"]))
    assert item["manifest"] == f"s3://{country.buckets['curated']}/shops/manifests/{D1}/1.json"
    assert {name: manifest[name] for name in ("feed", "day", "token", "revision", "rows")} == {
        "feed": "shops",
        "day": D1,
        "token": 1,
        "revision": 1,
        "rows": 3,
    }
    assert [(c["name"], c["type"]) for c in manifest["columns"]] == [
        ("id", "int"),
        ("name", "string"),
        ("sales", "double"),
        ("_day", "date"),
        ("_change", "string"),
    ]
    read = country.spark.read.parquet(*[f["uri"] for f in manifest["files"]])
    assert read.count() == sum(f["rows"] for f in manifest["files"]) == 3


def test_a_key_that_is_only_invalid_keeps_its_version(country: Country) -> None:
    country.run(SHOPS, D1, FIRST)
    assert country.run(SHOPS, D2, {"a.csv": "id,name,sales\n1,Ada,1\n2,Bob,much\n"}) == counts(
        input=2, validated=1, invalid=1, unchanged=1, deleted=1
    )
    assert [row[0] for row in rows(country, "versioned") if row[5] == "True"] == ["1", "2"]


def test_an_absent_key_of_no_snapshot_keeps_its_version(country: Country) -> None:
    events = contract("shops", SHOPS["schema"][0]["properties"])
    country.run(events, D1, FIRST)
    assert country.run(events, D2, SECOND) == counts(input=4, validated=2, invalid=2, changed=1, unchanged=1)


def test_a_day_without_valid_records_is_committed(country: Country) -> None:
    events = contract("shops", SHOPS["schema"][0]["properties"])
    assert country.run(events, D1, {"a.csv": "id,name,sales\nx,,\n"}) == counts(input=1, invalid=1)
    assert country.run(events, D2, {"a.csv": "id,name,sales\n"}) == counts()
    manifest = json.loads(country.objects.read(country.job("shops", D2)["manifest"]))
    assert (manifest["rows"], manifest["files"]) == (0, [])


def test_an_empty_snapshot_is_refused(country: Country) -> None:
    with pytest.raises(InputError, match="the snapshot has no records"):
        country.run(SHOPS, D1, {"a.csv": "id,name,sales\n"})


def test_a_snapshot_that_cannot_be_read_ends_no_version(country: Country) -> None:
    country.run(SHOPS, D1, FIRST)
    before = everything(country)
    with pytest.raises(InputError, match="none of the snapshot's 2 records is valid, which would end 3 versions"):
        country.run(SHOPS, D2, {"a.csv": "id,name,sales\n1;Ada;1\n2;Bob;2\n"})
    assert everything(country) == before


def test_a_rule_on_the_number_of_records_is_kept(country: Country) -> None:
    few = contract(
        "shops", SHOPS["schema"][0]["properties"], quality=[{"metric": "rowCount", "mustBeGreaterOrEqualTo": 9}]
    )
    with pytest.raises(InputError, match="the day has 5 records, its contract wants >= 9"):
        country.run(few, D1, FIRST)


def test_references_are_the_keys_valid_on_the_day(country: Country) -> None:
    sales = contract(
        "sales",
        [
            {"name": "no", "logicalType": "integer", "primaryKey": True},
            {"name": "shop", "logicalType": "integer", "relationships": [{"to": "shops.id"}]},
        ],
        prerequisites=["shops"],
    )
    with pytest.raises(InputError, match="feed 'sales' refers to 'shops', which has no day yet"):
        country.run(sales, D1, {"s.csv": "no,shop\n1,1\n"})
    country.run(SHOPS, D1, FIRST)
    country.run(SHOPS, D2, SECOND)
    assert country.run(sales, D1, {"s.csv": "no,shop\n1,3\n2,4\n"}, token=2) == counts(
        input=2, validated=1, invalid=1, new=1
    )
    assert country.run(sales, D2, {"s.csv": "no,shop\n3,3\n4,2\n"}) == counts(input=2, validated=1, invalid=1, new=1)
    assert [row[1:6] for row in rows(country, "invalid", "sales")] == [
        ("3", "2,4", "shop", "reference", '{"no":"2"}'),
        ("2", "3,3", "shop", "reference", '{"no":"3"}'),
    ]


def test_curated_rows_can_be_the_contracts_own_sql(country: Country) -> None:
    own = with_sql("select c.id, upper(s.name) as name, :day as said from changes c join shops s on s.id = c.id")
    assert country.run(own, D1, FIRST) == counts(input=5, validated=4, invalid=1, new=3, duplicate=1)
    assert rows(country, "curated") == [("1", "ADA", D1, D1), ("2", "BOB", D1, D1), ("3", "CY", D1, D1)]


def with_sql(sql: str) -> dict[str, Any]:
    """The contract of shops with SQL for its curated rows."""
    columns = [("id", "integer"), ("name", "string"), ("said", "string")]
    said = {
        "property": "sluice.curatedColumns",
        "value": [{"name": name, "logicalType": logical} for name, logical in columns],
    }
    return {**SHOPS, "customProperties": [*SHOPS["customProperties"], said], "sluice.curatedSql": sql}


def test_sql_that_makes_other_columns_than_its_contract_says_publishes_nothing(country: Country) -> None:
    """BigQuery's table has the columns that the contract says, and would refuse the day for good."""
    with pytest.raises(InputError) as error:
        country.run(with_sql("select count(*) as id, 1.5 as name, 'x' as more from changes"), D1, FIRST)
    assert str(error.value) == (
        "contracts/shops.sql makes other columns than sluice.curatedColumns says: name is decimal(2,1) instead of string; "
        "said is missing; more is not said"
    )
    assert not country.spark.catalog.tableExists(country.name_of("curated", "shops"))


def test_a_column_may_become_wider(country: Country) -> None:
    def sized(size: str, digits: int) -> dict[str, Any]:
        return contract(
            "shops",
            [
                {"name": "id", "logicalType": "integer", "primaryKey": True, "logicalTypeOptions": {"format": size}},
                {"name": "due", "logicalType": "number", "physicalType": f"decimal({digits},2)"},
            ],
            snapshot=True,
        )

    country.run(sized("i32", 5), D1, {"a.csv": "id,due\n1,1.50\n2,2.00\n"})
    wide = {"a.csv": "id,due\n1,1.50\n2,12345.00\n3000000000,3.00\n"}
    assert country.run(sized("i64", 9), D2, wide) == counts(input=3, validated=3, new=1, changed=1, unchanged=1)
    assert rows(country, "versioned") == [
        ("1", "1.50", D1, "None", "True", f"shops/{D1}"),
        ("2", "12345.00", D2, "None", "True", f"shops/{D2}"),
        ("2", "2.00", D1, D2, "False", f"shops/{D1}"),
        ("3000000000", "3.00", D2, "None", "True", f"shops/{D2}"),
    ]
    with pytest.raises(JobError, match=r"column due is decimal\(9,2\), the contract says decimal\(5,2\)"):
        country.run(sized("i32", 5), D3, wide)


def test_a_restated_day_shuffles_as_the_history_of_all_days_needs_it(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, ...]] = []
    original = job._size_shuffles

    def size(spark: SparkSession, *said: int) -> None:
        sizes.append(said)
        original(spark, *said)

    monkeypatch.setattr(job, "_size_shuffles", size)
    country.run(SHOPS, D1, FIRST)
    country.run(SHOPS, D2, SECOND)
    country.run(SHOPS, D1, FIRST, token=2, revision=2)
    assert [len(said) for said in sizes] == [2, 2, 3]
    assert sizes[2][2] > sum(sizes[1])


def test_a_contract_may_add_columns_and_nothing_else(country: Country) -> None:
    country.run(SHOPS, D1, FIRST)
    properties = SHOPS["schema"][0]["properties"]
    more = contract("shops", [*properties, {"name": "open", "logicalType": "boolean"}], snapshot=True)
    assert country.run(more, D2, {"a.csv": "id,name,sales,open\n1,Ada,1,\n2,Bob,2,true\n3,Cy,3,\n"}) == counts(
        input=3, validated=3, unchanged=2, changed=1
    )
    text = contract("shops", [properties[0], {"name": "name", "logicalType": "integer"}], snapshot=True)
    with pytest.raises(
        JobError, match="column name is string, the contract says int; column sales is not in the contract any more"
    ):
        country.run(text, D3, {"a.csv": "id,name\n1,1\n"})


@pytest.mark.parametrize("snapshot", [True, False])
def test_a_restated_day_leaves_what_its_files_would_have_made_in_the_first_place(
    country: Country, snapshot: bool
) -> None:
    feed = contract("shops", SHOPS["schema"][0]["properties"], snapshot=snapshot)
    other = contract("other", SHOPS["schema"][0]["properties"], snapshot=snapshot)
    third = {"a.csv": "id,name,sales\n1,Ada,1\n2,Bob,2\n4,Eve,5\n"}
    corrected = {"a.csv": "id,name,sales\n1,Ann,1\n3,Cy,3\n2,Bob,bad\n"}
    for day, content in ((D1, FIRST), (D2, SECOND), (D3, third)):
        country.run(feed, day, content)
    again = country.run(feed, D2, corrected, token=2, revision=2)
    for day, content in ((D1, FIRST), (D2, corrected)):
        made = country.run(other, day, content)
    assert again == made
    country.run(other, D3, third)
    assert rows(country, "versioned") == [
        tuple(v.replace("other/", "shops/") for v in row) for row in rows(country, "versioned", "other")
    ]


THIRD = {"a.csv": "id,name,sales\n1,Ada,1\n2,Bob,2\n4,Eve,5\n"}


@pytest.mark.parametrize("snapshot", [True, False])
@pytest.mark.parametrize("taken", [D2, D3])
def test_a_day_that_is_taken_back_leaves_what_the_other_days_make(country: Country, snapshot: bool, taken: str) -> None:
    quality = [{"metric": "rowCount", "mustBeGreaterOrEqualTo": 1}]  # of a day that is taken back nothing is asked
    feed = contract("shops", SHOPS["schema"][0]["properties"], quality=quality, snapshot=snapshot)
    other = country.sibling()
    for day, content in ((D1, FIRST), (D2, SECOND), (D3, THIRD)):
        country.run(feed, day, content)
        if day != taken:
            other.run(feed, day, content)
    assert country.run(feed, taken, {}, token=2, revision=2, retract=True) == counts()
    for stage in ("validated", "invalid", "versioned"):
        assert rows(country, stage) == rows(other, stage), stage
    # Rows of later days stay as they were computed, until these days are restated.
    assert {row[3] for row in rows(country, "curated")} == {D1, D2, D3} - {taken}
    item = country.job("shops", taken)
    assert (item["commitState"], item["commitRevision"], item["input"]) == ("committed", 2, 0)
    manifest = json.loads(country.objects.read(item["manifest"]))
    assert (manifest["rows"], manifest["files"], manifest["revision"]) == (0, [], 2)
    assert branches(country) == []
    assert country.run(feed, taken, SECOND, token=3, revision=3)["input"] == 4  # it can be delivered again


def test_a_day_that_is_taken_back_has_no_rows_of_the_contracts_own_sql(country: Country) -> None:
    own = with_sql("select s.id, s.name, :day as said from shops s")  # every version that is valid, whatever came
    country.run(own, D1, FIRST)
    country.run(own, D2, SECOND)
    assert country.run(own, D2, {}, token=2, revision=2, retract=True) == counts()
    assert {row[3] for row in rows(country, "curated")} == {D1}


def test_a_run_that_dies_while_it_takes_a_day_back_is_followed_by_one_that_does(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner, name, call, after in [
        (Table, "overwrite", 3, True),
        (Ledger, "claim", 1, True),
        (Table, "publish", 2, True),
    ]:
        point = f"{'after' if after else 'before'} {name} {call}"
        sibling = country.sibling()
        sibling.run(SHOPS, D1, FIRST)
        alone = everything(sibling)
        sibling.run(SHOPS, D2, SECOND)
        with dying(monkeypatch, owner, name, call, after):
            sibling.run(SHOPS, D2, {}, token=2, revision=2, retract=True)
        resume = 2 if sibling.job("shops", D2)["commitState"] == "committing" else None
        assert sibling.run(SHOPS, D2, {}, token=3, revision=2, retract=True, resume=resume) == counts(), point
        assert everything(sibling) == alone, point
        assert branches(sibling) == [], point


# Faults: a run that dies at one of these points is followed by one with the next token.


class Died(Exception):
    """The end of a run, in the middle of it."""


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, after: bool) -> Iterator[None]:
    """Makes one call of a method end the run, before or after it did its work. Calls are made by several threads."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    def dies(*args: Any, **kwargs: Any) -> Any:
        last = next(calls) == call
        if last and not after:
            raise Died
        result = original(*args, **kwargs)
        if last:
            raise Died
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dies)
        with pytest.raises(Died):
            yield


POINTS = [
    (Table, "overwrite", 2, True),
    (Table, "replace", 1, True),
    (job, "_audit", 1, True),
    (Ledger, "claim", 1, True),
    (Folder, "write", 1, True),
    (Table, "publish", 3, False),
    (Table, "publish", 4, True),
    (Ledger, "finish", 1, True),
]


def test_a_run_that_dies_anywhere_is_followed_by_one_that_ends_as_if_nothing_was(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    country.run(SHOPS, D1, FIRST)
    expected_counts = country.run(SHOPS, D2, SECOND)
    expected = everything(country)
    for owner, name, call, after in POINTS:
        point = f"{'after' if after else 'before'} {name} {call}"
        sibling = country.sibling()
        sibling.run(SHOPS, D1, FIRST)
        before = everything(sibling)
        with dying(monkeypatch, owner, name, call, after):
            sibling.run(SHOPS, D2, SECOND)
        item = sibling.job("shops", D2)
        committing = item.get("commitState") == "committing"
        if not item.get("commitState"):
            assert everything(sibling) == before, f"{point}: seen before it was claimed"
        assert sibling.run(SHOPS, D2, SECOND, token=2, resume=1 if committing else None) == expected_counts, point
        assert everything(sibling) == expected, point
        assert branches(sibling) == [], point
        item = sibling.job("shops", D2)
        assert (item["commitState"], item["commitRevision"]) == ("committed", 1), point
        assert json.loads(sibling.objects.read(item["manifest"]))["rows"] == 2, point


def test_a_claim_whose_branches_do_not_fit_any_more_is_done_again(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    country.run(SHOPS, D1, FIRST)
    with dying(monkeypatch, Ledger, "claim", 1, True):
        country.run(SHOPS, D2, SECOND)
    country.spark.sql(
        f"delete from {country.name_of('versioned', 'shops')} where id = 99 or valid_from = date'1999-01-01'"
    )
    country.spark.sql(
        f"insert into {country.name_of('validated', 'shops')} select 7, 'Zoe', 1, 'by hand', 1, date'{D1}'"
    )
    assert country.run(SHOPS, D2, SECOND, token=2, resume=1) == counts(
        input=4, validated=2, invalid=2, changed=1, unchanged=1, deleted=1
    )
    assert branches(country) == []


def test_a_run_that_was_replaced_cannot_publish(country: Country, monkeypatch: pytest.MonkeyPatch) -> None:
    country.run(SHOPS, D1, FIRST)
    before = everything(country)
    run = country.attempt(SHOPS, D2, SECOND)
    audit = job._audit

    def replaced(*args: Any) -> None:
        audit(*args)
        country.start("shops", D2, token=2)

    monkeypatch.setattr(job, "_audit", replaced)
    with pytest.raises(
        ClaimError, match=f"job shops/{D2}: token 1 may not publish: another run owns it, or its day is closed"
    ):
        run.run()
    assert everything(country) == before
    with pytest.raises(ClaimError, match="the ledger has it running with token 2, this run has token 1"):
        run.run()


@pytest.mark.parametrize(("owner", "name"), [(files, "read"), (transforms, "classify"), (job, "_audit")])
def test_a_file_that_is_overwritten_while_its_run_reads_it_is_not_published(
    country: Country, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    country.run(SHOPS, D1, FIRST)
    before = everything(country)
    other = {"a.csv": SECOND["a.csv"].replace("Ada", "Eda")}  # as long as the first one
    original = getattr(owner, name)

    def overwritten(*args: Any) -> Any:
        country.put("shops", D2, other)
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, overwritten)
        with pytest.raises(ChangedError) as error:
            country.run(SHOPS, D2, SECOND)
    assert str(error.value) == (
        f"shops/{D2}/a.csv was overwritten or deleted after the run was ordered: nothing was published"
    )
    assert everything(country) == before
    assert "commitState" not in country.job("shops", D2)
    assert country.run(SHOPS, D2, other, token=2) == counts(input=4, validated=2, invalid=2, changed=2, deleted=1)
    assert [row[:2] for row in rows(country, "curated") if row[3] == D2] == [("1", "Eda"), ("2", "Bob")]


def test_files_that_are_not_the_ordered_ones_any_more_are_not_read(country: Country) -> None:
    run = country.attempt(SHOPS, D1, {**FIRST, "b.csv": "id,name,sales\n9,Ida,9\n"})
    country.put("shops", D1, {"a.csv": "cut off", "b.csv": "cut off"})
    with pytest.raises(ChangedError, match=rf"^shops/{D1}/a\.csv and 1 more was overwritten"):
        run.run()
    country.remove("shops", D1, "a.csv")
    with pytest.raises(ChangedError, match=rf"^shops/{D1}/a\.csv and 1 more was overwritten or deleted"):
        run.run()
    assert not country.spark.catalog.tableExists(country.name_of("validated", "shops"))


def test_a_commit_that_the_order_does_not_resume_is_left_alone(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dying(monkeypatch, Ledger, "claim", 1, True):
        country.run(SHOPS, D1, FIRST)
    with pytest.raises(ClaimError, match="run 1 has begun to publish, and this run's order does not resume it"):
        country.run(SHOPS, D1, FIRST, token=2)


def test_a_run_that_is_cancelled_while_it_works_publishes_nothing(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    country.run(SHOPS, D1, FIRST)
    before = everything(country)
    audit = job._audit

    def audit_and_cancel(*args: Any) -> None:
        audit(*args)
        country.cancel("shops", D2, "cancel by ann: wrong delivery")

    monkeypatch.setattr(job, "_audit", audit_and_cancel)
    with pytest.raises(CancelledError) as error:
        country.run(SHOPS, D2, SECOND)
    assert str(error.value) == f"job shops/{D2}: cancel by ann: wrong delivery; nothing was published"
    assert error.value.kind == "cancelled"
    assert everything(country) == before
    assert "commitState" not in country.job("shops", D2)
    with pytest.raises(CancelledError):
        country.run(SHOPS, D2, SECOND, token=2)  # as it stands: it does not begin

    monkeypatch.setattr(job, "_audit", audit)
    country.cancel("shops", D2, "")  # what the ledger has where an act left nobody who wants it ended
    assert country.run(SHOPS, D2, SECOND, token=3) == counts(
        input=4, validated=2, invalid=2, changed=1, unchanged=1, deleted=1
    )


def test_a_closed_day_is_not_done_again(country: Country) -> None:
    made = country.run(SHOPS, D1, FIRST)
    before = everything(country)
    assert country.run(SHOPS, D1, SECOND, token=2) == made
    assert everything(country) == before
    assert country.job("shops", D1)["commitToken"] == 1


def test_sums_that_do_not_add_up_are_not_published(country: Country, monkeypatch: pytest.MonkeyPatch) -> None:
    country.run(SHOPS, D1, FIRST)
    before = everything(country)
    original = transforms.validated
    monkeypatch.setattr(transforms, "validated", lambda *args: original(*args).limit(1))
    with pytest.raises(AuditError) as error:
        country.run(SHOPS, D2, SECOND)
    assert str(error.value) == (
        "the sums do not add up, nothing was published: input 4 is not validated + invalid 3; "
        "validated 1 is not new + changed + unchanged + duplicate 2"
    )
    assert everything(country) == before
    assert "commitState" not in country.job("shops", D2)


# The command.

REGION = ("--aws-region", "us-east-1")


@pytest.mark.parametrize(
    ("contents", "code", "result"),
    [
        (FIRST, 0, {"ok": True, "counts": counts(input=5, validated=4, invalid=1, new=3, duplicate=1)}),
        (
            {"a.csv": "id\n"},
            1,
            {
                "ok": False,
                "error": f"shops/{D1}/a.csv has another header than its contract: it lacks name, sales",
                "kind": "input",
            },
        ),
    ],
)
def test_the_command_tells_its_result_in_three_ways(
    country: Country,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    contents: dict[str, str],
    code: int,
    result: dict[str, Any],
) -> None:
    country.start("shops", D1, 1)
    order = {
        "version": 1,
        "stack": "local",
        "country": "us",
        "feed": "shops",
        "day": D1,
        "token": 1,
        "revision": 1,
        "contract": SHOPS,
        "references": {},
        "files": country.put("shops", D1, {**contents, "_COMPLETE": ""}),
        "databases": {stage: country.buckets[stage] for stage in STAGES},
        "buckets": country.buckets,
        "jobsTable": country.jobs_table,
        "resume": None,
    }
    country.objects.write(country.buckets["artifacts"], "order.json", order)
    monkeypatch.setattr(job, "Objects", lambda *_: country.objects)
    monkeypatch.setattr(job, "session", lambda: country.spark)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    assert job.main(["--order", f"s3://{country.buckets['artifacts']}/order.json", *REGION]) == code
    assert (
        json.loads(country.objects.read(f"s3://{country.buckets['artifacts']}/runs/shops/{D1}/1/result.json")) == result
    )
    told = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert told == (result if code == 0 else {"error": result["error"], "kind": result["kind"]})


def test_the_order_is_read_in_the_region_that_the_arguments_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def aws(region: str) -> None:
        asked.append(region)
        raise Died

    monkeypatch.setattr(job, "AWS", aws)
    with pytest.raises(Died):
        job.main(["--order", "s3://artifacts/order.json", "--aws-region", "eu-west-1"])
    assert asked == ["eu-west-1"]


def test_what_nobody_foresaw_is_told_as_internal(
    country: Country, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "Objects", lambda *_: country.objects)
    monkeypatch.setattr(Run, "run", lambda self: 1 // 0)
    country.objects.write(country.buckets["artifacts"], "order.json", {"version": 2})
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    assert job.main(["--order", f"s3://{country.buckets['artifacts']}/order.json", *REGION]) == 1
    told = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert told == {"error": "order: version 2 is not supported: deploy job and functions together", "kind": "input"}
    assert job.main(["--order", f"s3://{country.buckets['artifacts']}/none.json", *REGION]) == 1
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["kind"] == "internal"
