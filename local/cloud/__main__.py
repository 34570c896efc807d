"""`python -m local.cloud`."""

import sys

from local.cloud.launcher import main

sys.exit(main())
