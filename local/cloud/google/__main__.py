"""Run only the local Google, until its standard input ends: for tests of what speaks to it.

python -m local.cloud.google --home DIR prints one line of JSON when it answers: endpoints, ca, pids.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

from .front import CHECKOUT, Google


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m local.cloud.google", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument(
        "--aws", default="http://127.0.0.1:9", help="the AWS that identities are checked with (default: none)"
    )
    parser.add_argument("--fake-gcs-server", type=Path, default=CHECKOUT / "bin/fake-gcs-server")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    google = Google(arguments.home, arguments.aws, arguments.fake_gcs_server)
    google.start()
    try:
        print(json.dumps({"endpoints": google.endpoints, "ca": str(google.ca), "pids": google.pids}), flush=True)
        sys.stdin.read()
    finally:
        google.stop()


if __name__ == "__main__":
    main()
