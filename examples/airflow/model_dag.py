"""Airflow 3: submit a job, wait for it without occupying a worker, and use its result.

Needs opwatch with the `airflow` extra, and an Airflow connection named `itwin`, with the client ID
as login and the client secret as password. The documentation of `opwatch.airflow` lists the other
fields.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from opwatch.airflow import OpwatchSensor


@dag(schedule=None)
def model() -> None:
    @task
    def submit(dag_run: Any = None) -> str:
        """Submit the job and return its ID. Here, the ID comes from the run's configuration."""
        return str(dag_run.conf["job"])

    wait = OpwatchSensor(
        task_id="wait",
        service="itwin",
        conn_id="itwin",
        job_id=submit(),
        timeout=timedelta(hours=6),
        stall_timeout=3600,
    )

    @task
    def use(progress: dict[str, Any]) -> str:
        """Use the last result, a dict; `progress["wire"]` is the service's response."""
        return f"{progress['job_id']} {progress['phase']}"

    use(wait.output)


model()
