"""DAGs for the tests: one task that waits for the job named in the run's configuration."""

from airflow.sdk import DAG

from opwatch.airflow import OpwatchSensor

for name, deferrable in {"deferred": True, "blocking": False}.items():
    with DAG(name, schedule=None):
        OpwatchSensor(
            task_id="wait",
            service="itwin",
            conn_id="itwin",
            job_id="{{ dag_run.conf['job'] }}",
            timeout=3600,
            deferrable=deferrable,
        )
