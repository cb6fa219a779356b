"""Airflow 3: submit a job, wait for it without holding a worker, use what came of it.

Needs `pip install 'opwatch[airflow]'` and an Airflow connection named `itwin`: login is the client
id, password the client secret (the other fields: the documentation of `opwatch.airflow`).
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from opwatch.airflow import OpwatchSensor


@dag(schedule=None)
def model() -> None:
    @task
    def submit(dag_run: Any = None) -> str:
        """Stands for the call that submits the job: its id comes with the run."""
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
        """The last answer as a dict; `progress["wire"]` is what the service sent."""
        return f"{progress['job_id']} {progress['phase']}"

    use(wait.output)


model()
