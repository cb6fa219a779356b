"""For the reference: let a client share its docstring and arguments with its async twin.

`ITwin` and `AsyncITwin` get both from `_ITwin` when they are imported. mkdocstrings reads the
source without importing it, so this extension of its reader (griffe) does the same.
"""

from typing import Any

# Only the environment of `make docs` has griffe.
from griffe import Alias, Docstring, Extension  # type: ignore[import-not-found]

BORROWED = ("__init__", "from_env")


class SharedClasses(Extension):  # type: ignore[misc]
    """Gives a class without a docstring the docstring of its private base class."""

    def on_class_members(self, *, cls: Any, **_: Any) -> None:
        """Handle a class once its members are known."""
        private = next((str(base) for base in cls.bases if str(base).startswith("_")), None)
        shared = cls.parent.members.get(private)
        if shared is None or shared.docstring is None or cls.docstring is not None:
            return
        text = shared.docstring
        cls.docstring = Docstring(text.value, lineno=text.lineno, parent=cls)
        for name in BORROWED:
            if name in shared.members:
                cls.set_member(name, Alias(name, shared.members[name], parent=cls))
