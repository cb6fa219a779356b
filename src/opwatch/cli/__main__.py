"""`python -m opwatch.cli`: the command, without the installed script."""

import sys

from opwatch.cli import main

if __name__ == "__main__":
    sys.exit(main())
