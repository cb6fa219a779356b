"""A fourth service, as another package brings it: opwatch does not know it."""
