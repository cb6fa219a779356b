"""What the tests of the sensor and of the trigger share."""

import asyncio
import json

from engine_checks import connections

from opwatch.airflow import OpwatchSensor
from opwatch.testing import Script, reply

OVER = reply(200, {"jobProgress": {"percentage": 100, "state": "Over"}})
SECRET = "made-up-secret-word"
CONNECTION = {"conn_type": "generic", "host": "https://itwin.test/contextcapture"}


def connect(monkeypatch, conn_id, fields):
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))


def connect_simulator(monkeypatch, name, url, conn_id="itwin"):
    """A connection of that kind to a simulator; its service."""
    service, fields = connections(url)[name]
    connect(monkeypatch, conn_id, fields)
    return service


def active(percent):
    return reply(200, {"jobProgress": {"percentage": percent, "state": "Active"}})


def script(*replies, end="success"):
    """An iTwin job named j that responds with `replies`, then is over."""
    job = {"id": "j", "state": end}
    return Script({"/jobs/j/progress": [*replies, OVER], "/jobs/j": [reply(200, {"job": job})]})


def polls(played):
    return [sent.time for sent in played.sent if sent.target.endswith("/progress")]


def fired(trigger):
    """The payloads of all that a trigger fires."""

    async def collect():
        return [event.payload async for event in trigger.run()]

    return asyncio.run(collect())


def sensor(**how):
    how = {"service": "itwin", "conn_id": "itwin", "job_id": "j", "timeout": 3600, **how}
    return OpwatchSensor(task_id="wait", **how)
