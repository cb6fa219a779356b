"""The package of a spec, generated once."""

from command_support import run
from generating_tools import generate, generated

__all__ = ["generate", "generated", "run"]
