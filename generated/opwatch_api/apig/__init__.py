"""A client library for accessing APIG dedicated gateway creation progress"""

from .client import AuthenticatedClient, Client

__all__ = (
    "AuthenticatedClient",
    "Client",
)
