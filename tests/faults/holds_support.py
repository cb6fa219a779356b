"""Responses that ask for a pause."""

from faults_support import state

from opwatch.testing import reply

PAGE = b"<html><body>Down for maintenance</body></html>"
FAILED_JOB = {"error": {"code": "Whatever", "message": "try again later"}}


def asking(status, after="100"):
    """A response that asks for a pause: an error, progress (200), or a page."""
    if status == 200:
        return state("Active", Retry_After=after)
    if status == "page":
        return reply(200, PAGE, {"Content-Type": "text/html", "Retry-After": after})
    return reply(status, FAILED_JOB, {"Retry-After": after})


def itwin(driver, **options):
    return driver.clients["itwin"]("a made-up token", **options)
