"""What looks like success but isn't, for each service: the response, and what it really says."""

from __future__ import annotations

from typing import Any

from fault_plays import RIGHT, Gives

from opwatch import Phase
from opwatch.errors import BadResponse, ConfigurationError
from opwatch.testing import reply

UNKNOWN = Gives(Phase.UNKNOWN)
ENDED = Gives(Phase.ENDED)
ENDED_AT_LAST = Gives(Phase.ENDED, asks_again=True)
BAD = Gives(BadResponse)
OTHER_VERSION = Gives(ConfigurationError)


def message(status: Any = "success", data: Any = None, **progress: Any) -> dict[str, Any]:
    found = {"bytesProcessed": 28, **progress}
    return {"status": status, "data": {"action": "log", "progress": found, **(data or {})}}


DONE: dict[str, Any] = {"done": True, "success": True}
RESULT = {"result": {"messageId": "mt7ZYbBYpM3zcgAf3H8X"}}
PAIRS = [["bytesProcessed", 28], ["done", True], ["success", True]]
CATENIS_CLAIMS: dict[str, tuple[Any, Gives]] = {
    "success-before-done": (message(done=False, success=True), RIGHT),
    "result-before-done": (message(data=RESULT, done=False), RIGHT),
    "finish-date-before-done": (message(done=False, finishDate="2019-03-13T14:09:10Z"), RIGHT),
    "done-missing": (message(success=True), BAD),
    "done-null": (message(done=None, success=True), UNKNOWN),
    "done-text": (message(done="true", success=True), UNKNOWN),
    "done-number": (message(done=1, success=True), UNKNOWN),
    "done-list": (message(done=[True], success=True), UNKNOWN),
    "done-nested": (message(done=eval("[" * 90 + "]" * 90), success=True), UNKNOWN),
    "success-missing": (message(data=RESULT, done=True), ENDED),
    "success-null": (message(done=True, success=None), ENDED),
    "success-text": (message(done=True, success="true"), ENDED),
    "success-number": (message(done=True, success=1), ENDED),
    "success-spelled": ({"data": {"action": "log", "Progress": DONE}, "status": "success"}, BAD),
    "status-error": (message("error", **DONE), BAD),
    "status-missing": ({"data": message(**DONE)["data"]}, BAD),
    "status-null": (message(None, **DONE), BAD),
    "status-number": (message(200, **DONE), BAD),
    "status-true": (message(True, **DONE), BAD),
    "progress-as-pairs": ({"status": "success", "data": {"action": "log", "progress": PAIRS}}, BAD),
    "data-as-pairs": ({"status": "success", "data": [["action", "log"], ["progress", DONE]]}, BAD),
    "data-in-list": ({"status": "success", "data": [message(**DONE)["data"]]}, BAD),
    "no-envelope": ({"bytesProcessed": 28, **DONE}, BAD),
}


def job(state: Any, percentage: Any = 100, **more: Any) -> dict[str, Any]:
    return {"jobProgress": {"percentage": percentage, "state": state, "step": "Done", **more}}


def resolved(state: Any) -> dict[str, Any]:
    return {"job": {"id": "j-1", "name": "n", "type": "t", "state": state}}


OVER = job("Over")
ITWIN_CLAIMS: dict[str, tuple[Any, Gives]] = {
    "hundred-percent": (job("Active"), RIGHT),
    "more-than-hundred": (job("Active", 1000), RIGHT),
    "state-missing": ({"jobProgress": {"percentage": 100}}, UNKNOWN),
    "state-null": (job(None), UNKNOWN),
    "state-true": (job(True), UNKNOWN),
    "state-one": (job(1), UNKNOWN),
    "state-list": (job(["success"]), UNKNOWN),
    "state-object": (job({"success": True}), UNKNOWN),
    "state-succeeded": (job("Succeeded"), UNKNOWN),
    "state-successful": (job("Successful"), UNKNOWN),
    "state-complete": (job("Completed"), UNKNOWN),
    "state-done": (job("Done"), UNKNOWN),
    "state-ok": (job("OK"), UNKNOWN),
    "state-elsewhere": (job("Active", status="success"), RIGHT),
    "progress-as-pairs": ({"jobProgress": [["state", "success"]]}, BAD),
    "progress-in-list": ({"jobProgress": [{"state": "success"}]}, BAD),
    "progress-empty-list": ({"jobProgress": []}, BAD),
    "progress-spelled": ({"JobProgress": {"state": "success"}}, BAD),
    "no-envelope": ({"percentage": 100, "state": "success"}, BAD),
    "second-version": ({"progress": {"percentage": 100, "state": "Success"}}, OTHER_VERSION),
    "state-queued": (job("Queued"), Gives(Phase.PENDING)),
    "state-terminating": (job("TerminatingOnCancel"), RIGHT),
    "over-job-unknown": ([OVER, resolved("completed")], ENDED),
    "over-job-null": ([OVER, resolved(None)], ENDED),
    "over-job-true": ([OVER, resolved(True)], ENDED),
    "over-job-list": ([OVER, resolved(["success"])], ENDED),
    "over-job-over": ([OVER, resolved("over")], ENDED),
    "over-job-gone": ([OVER, reply(404, {"error": {"code": "JobNotFound"}})], ENDED),
    "over-job-forbidden": ([OVER, reply(403)], ENDED),
    "over-job-as-pairs": ([OVER, {"job": [["state", "success"]]}], ENDED_AT_LAST),
    "over-job-html": ([OVER, reply(200, b"<p>")], ENDED_AT_LAST),
    "over-job-unavailable": ([OVER, reply(503)], ENDED_AT_LAST),
    "over-job-still-active": ([OVER, resolved("active")], ENDED_AT_LAST),
}


def progress(state: Any, percentage: Any = 100, **more: Any) -> dict[str, Any]:
    return {"progress": {"percentage": percentage, "state": state, **more}}


ITWIN_V2_CLAIMS: dict[str, tuple[Any, Gives]] = {
    "hundred-percent": (progress("Active"), RIGHT),
    "queued": (progress("Queued"), Gives(Phase.PENDING)),
    "terminating-on-cancel": (progress("TerminatingOnCancel"), RIGHT),
    "terminating-on-failure": (progress("TerminatingOnFailure"), RIGHT),
    "state-missing": ({"progress": {"percentage": 100}}, UNKNOWN),
    "state-null": (progress(None), UNKNOWN),
    "state-true": (progress(True), UNKNOWN),
    "state-list": (progress(["Success"]), UNKNOWN),
    "state-succeeded": (progress("Succeeded"), UNKNOWN),
    "state-over": (progress("Over"), UNKNOWN),
    "state-elsewhere": (progress("Active", status="Success"), RIGHT),
    "progress-as-pairs": ({"progress": [["state", "Success"]]}, BAD),
    "progress-in-list": ({"progress": [{"state": "Success"}]}, BAD),
    "no-envelope": ({"percentage": 100, "state": "Success"}, BAD),
    "first-version": (job("success"), OTHER_VERSION),
}


def gateway(status: Any, progress: Any = 100, **more: Any) -> dict[str, Any]:
    return {"progress": progress, "status": status, "end_time": 1597390224911, **more}


APIG_CLAIMS: dict[str, tuple[Any, Gives]] = {
    "hundred-percent": (gateway("creating"), RIGHT),
    "status-missing": ({"progress": 100, "end_time": 1597390224911}, UNKNOWN),
    "status-null": (gateway(None), UNKNOWN),
    "status-one": (gateway(1), UNKNOWN),
    "status-true": (gateway(True), UNKNOWN),
    "status-list": (gateway(["success"]), UNKNOWN),
    "status-object": (gateway({"success": True}), UNKNOWN),
    "status-succeeded": (gateway("succeeded"), UNKNOWN),
    "status-successful": (gateway("successful"), UNKNOWN),
    "status-created": (gateway("created"), UNKNOWN),
    "status-running": (gateway("Running"), UNKNOWN),
    "status-ok": (gateway("ok"), UNKNOWN),
    "status-spelled": (gateway("creating", Status="success"), RIGHT),
    "in-list": ([[gateway("success")]], BAD),
    "as-pairs": ([[["status", "success"], ["progress", 100]]], BAD),
    "in-data": ({"data": gateway("success")}, BAD),
}
CLAIMS = {
    "catenis": CATENIS_CLAIMS,
    "itwin": ITWIN_CLAIMS,
    "itwin-v2": ITWIN_V2_CLAIMS,
    "apig": APIG_CLAIMS,
}
