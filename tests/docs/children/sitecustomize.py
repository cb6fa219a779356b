"""Python imports this at its start in the processes of a page: it sets them upon the stage.

They have what a reader has, and so no trio.
"""

import sys

sys.modules["trio"] = None  # type: ignore[assignment]  # importing it raises ImportError

import docs_stage  # noqa: E402

docs_stage.enter()
