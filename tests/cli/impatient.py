"""`opwatch` for tests on the wall clock: `--schedule` takes delays that no service should get."""

import sys

from opwatch.cli import main, values

if __name__ == "__main__":
    values.LEAST_DELAY = 0.0
    sys.argv[0] = "opwatch"
    sys.exit(main())
