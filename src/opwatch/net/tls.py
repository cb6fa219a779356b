"""TLS settings from the environment, and TLS failures in plain words. Opens no connection."""

from __future__ import annotations

import os
import ssl
import stat
from functools import lru_cache

from opwatch.errors import ConfigurationError


def context() -> ssl.SSLContext:
    """Return the context for https: certifi's authorities unless the environment names others.

    | variable | meaning |
    |---|---|
    | `SSL_CERT_FILE` | a PEM file of the authorities to trust |
    | `SSL_CERT_DIR` | a folder of them, prepared by `openssl rehash` |
    | `SSLKEYLOGFILE` | a file to which the keys of each connection are appended, for debugging |

    They are read on each call; clients with the same settings share one context, which takes 20 to
    40 ms to build. Raises `ConfigurationError` if a variable names something that can't be used.
    """
    variables = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
    file, folder, keys = (os.environ.get(name, "") for name in variables)
    if keys:
        try:
            os.close(os.open(keys, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666))
        except OSError as error:
            problem = f"must name a file that can be written, not {keys!r} ({error.strerror})"
            raise ConfigurationError(f"`SSLKEYLOGFILE` {problem}; fix or unset it") from None
    if folder and not any(map(_has_files, folder.split(os.pathsep))):
        raise ConfigurationError(
            f"`SSL_CERT_DIR` must name a folder with certificates, not {folder!r}; fix or unset it"
        )
    if file:
        return _built(file, folder, keys, _stamp(file))
    import certifi

    return _built("" if folder else certifi.where(), folder, keys, None)


def why(error: Exception) -> str:
    """Return why a handshake failed and what to do about it."""
    if isinstance(error, TimeoutError):
        return "the TLS handshake timed out"
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
        return "the connection was closed during the TLS handshake"
    if isinstance(error, ssl.SSLCertVerificationError):
        found = _VERIFY.get(error.verify_code, error.verify_message)
        return f"certificate verify failed: {found}"
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "the TLS handshake failed; the server does not seem to speak TLS on this port"
    return f"the TLS handshake failed ({error.reason})"


def is_untrusted(error: Exception) -> bool:
    """Return whether a certificate's issuer is unknown: no retry fixes that, only a setting."""
    return getattr(error, "verify_code", 0) in _UNKNOWN_ISSUER


_UNKNOWN_ISSUER = (18, 19, 20, 21)
_UNKNOWN = (
    "the issuer is unknown; if you trust it, set SSL_CERT_FILE to the issuer's certificate or pass "
    "an `ssl_context`"
)
_VERIFY = {  # OpenSSL's X509_V_ERR_*
    9: "the certificate is not valid yet; check this machine's clock",
    10: "the certificate has expired; the server needs a new one (or check this machine's clock)",
    **dict.fromkeys(_UNKNOWN_ISSUER, _UNKNOWN),
    **dict.fromkeys((62, 64), "the certificate is for another host name; check the address"),
}


@lru_cache(maxsize=8)
def _built(file: str, folder: str, keys: str, stamp: object) -> ssl.SSLContext:
    try:
        built = ssl.create_default_context(cafile=file or None, capath=folder or None)
    except OSError:
        raise ConfigurationError(
            f"`SSL_CERT_FILE` must name a PEM file of certificates, not {file!r}; fix or unset it"
        ) from None
    built.minimum_version = ssl.TLSVersion.TLSv1_2
    built.set_alpn_protocols(["http/1.1"])
    return built


def _has_files(folder: str) -> bool:
    try:
        return bool(os.listdir(folder))  # noqa: PTH208 (pathlib takes 3 ms to load)
    except OSError:
        return False


def _stamp(file: str) -> tuple[int, int]:
    """Return what changes when a file does."""
    try:
        found = os.stat(file)  # noqa: PTH116 (pathlib takes 3 ms to load)
    except OSError:
        problem = "that file doesn't exist"
    else:
        if stat.S_ISREG(found.st_mode) and found.st_size:
            return found.st_mtime_ns, found.st_size
        problem = "that file is empty" if stat.S_ISREG(found.st_mode) else "that isn't a file"
    raise ConfigurationError(
        f"`SSL_CERT_FILE` is set to {file!r}, but {problem}; set it to a PEM file of certificates, "
        "or unset it to use the default certificate authorities"
    )
