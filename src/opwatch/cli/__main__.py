"""`python -m opwatch.cli`: the command where no script was installed."""

import sys

from opwatch.cli import main

if __name__ == "__main__":
    sys.exit(main())
