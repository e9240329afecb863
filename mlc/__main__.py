"""`python -m mlc` is the command `mlc`."""

import sys

from mlc.cli import main

sys.exit(main())
