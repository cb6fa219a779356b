"""Certificates for loopback: good ones and bad ones, and who trusts them."""

from __future__ import annotations

import functools
import ssl
import threading
from datetime import UTC, datetime

import trustme

LOOPBACK = ("127.0.0.1", "::1", "localhost")


_MAKING = threading.Lock()


def authority() -> trustme.CA:
    """The one authority; a second thread that asks for it waits until it is made."""
    with _MAKING:
        return _authority()


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def trusting() -> ssl.SSLContext:
    """For a client that trusts our authority and no other."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@functools.cache
def good(*names: str) -> ssl.SSLContext:
    """For a server that is who it says it is."""
    return _context(authority().issue_cert(*(names or LOOPBACK)))


@functools.cache
def untrusted() -> ssl.SSLContext:
    """For a server whose certificate nobody vouches for."""
    return _context(trustme.CA().issue_cert(*LOOPBACK))


@functools.cache
def someone_else() -> ssl.SSLContext:
    return _context(authority().issue_cert("someone-else.invalid"))


@functools.cache
def expired() -> ssl.SSLContext:
    then = datetime(2020, 1, 1, tzinfo=UTC)
    return _context(
        authority().issue_cert(*LOOPBACK, not_before=then, not_after=then.replace(month=2))
    )


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context
