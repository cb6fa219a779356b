"""The fixtures of several files."""

from httpx_support import clock, sim
from leak_service import service, witness

__all__ = ["clock", "service", "sim", "witness"]
