"""What the tests of the drivers share."""

from opwatch import AsyncITwin, ITwin
from opwatch.testing import Script, reply

BACKENDS = ["asyncio", "trio"]
NOTE = "opwatch: the job continues; this token resumes the wait: "


def progress(state, percentage=0):
    return reply(200, {"jobProgress": {"state": state, "percentage": percentage}})


ACTIVE, SUCCESS, FAILED = progress("Active"), progress("success", 100), progress("failed")


def script(*replies):
    return Script({"/progress": replies, "/jobs/job-1": [progress("Active")]})


def client(**options):
    return ITwin("a made-up token", **options)


def async_client(**options):
    return AsyncITwin("a made-up token", **options)


def times(sent):
    return [request.time for request in sent.sent]


def resumed_from(error):
    [note] = error.__notes__
    assert note.startswith(NOTE)
    return note.removeprefix(NOTE)
