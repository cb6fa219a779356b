"""The package of a spec, generated once."""

from generating_tools import generate, generated

__all__ = ["generate", "generated"]
