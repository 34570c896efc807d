"""`python -m local.demo make --out DIR` writes the input; `python -m local.demo recount DIR` counts what must come of it, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from local.demo import files, recount


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m local.demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write the input files: DIR/<country>/<feed>/<day>/<file>")
    make.add_argument("--out", type=Path, required=True, metavar="DIR")
    count = commands.add_parser(
        "recount", help="count the records of the input files without Spark, and print a JSON array"
    )
    count.add_argument("dir", type=Path, metavar="DIR")
    count.add_argument("--contracts", type=Path, default=Path("contracts"), metavar="DIR", help="default: contracts")
    args = parser.parse_args(argv)
    if args.command == "make":
        made, there = files.make(args.out)
        print(f"{args.out}: {made} files written, {there} were there")
    else:
        print(json.dumps(recount.recount(args.dir, args.contracts), indent=1))
    return 0


sys.exit(main(sys.argv[1:]))
