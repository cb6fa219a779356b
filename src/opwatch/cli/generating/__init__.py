"""From a spec to code: what an `x-wait` block must be, and the Python that it becomes."""
