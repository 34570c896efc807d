from __future__ import annotations

from pathlib import Path

import yaml

from jobs.records.tests.conftest import CHECKOUT, Country
from local.demo import files, recount

CONTRACTS = CHECKOUT / "contracts"


def test_the_job_counts_what_the_recount_counts(country: Country, tmp_path: Path) -> None:
    """Every country, feed and day of the demo, on Spark and in plain Python."""
    files.make(tmp_path)
    contracts = {path.stem: yaml.safe_load(path.read_text()) for path in CONTRACTS.glob("*.yaml")}
    expected = recount.recount(tmp_path, CONTRACTS)
    countries = {"us": country, "pr": country.sibling()}
    in_order = sorted(expected, key=lambda row: (row["day"], row["feed"] == "flights"))
    made = []
    for row in in_order:
        where, feed, day = row["country"], row["feed"], row["day"]
        content = {path.name: path.read_bytes() for path in (tmp_path / where / feed / day).iterdir()}
        made.append({"country": where, "feed": feed, "day": day, **countries[where].run(contracts[feed], day, content)})
    assert made == in_order
    assert len(made) == 20
