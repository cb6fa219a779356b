"""Tests of opwatch inside Airflow, Celery and cron.

Airflow and Celery have their own environments (requirements/airflow.txt, celery.txt), where
`make engines` runs these files by naming the engine in `OPWATCH_ENGINE`. Elsewhere the files of an
engine are not collected at all, since what they import is not there.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ENGINE = os.environ.get("OPWATCH_ENGINE", "")
collect_ignore_glob = [f"test_{name}*.py" for name in ("airflow", "celery") if name != ENGINE]

if ENGINE == "airflow":
    # Airflow reads its settings when it is first imported.
    HOME = Path(tempfile.mkdtemp(prefix="opwatch-airflow-"))
    os.environ |= {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
            [
                {
                    "name": path.parent.name,
                    "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                    "kwargs": {"path": str(path)},
                }
                for path in (HERE / "dags", HERE.parents[1] / "examples" / "airflow")
            ]
        ),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # its own asks for an address
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "5",
        "AIRFLOW__TRIGGERER__CAPACITY": "2000",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__CORE__FERNET_KEY": "bWFkZS11cC1rZXktZm9yLXRlc3RzLW9ubHktMDAwMDA=",
        "NO_PROXY": "*",
    }

    @pytest.fixture(scope="session", autouse=True)
    def _airflow_home():
        """Take away the directory that Airflow wrote to."""
        yield
        shutil.rmtree(HOME, ignore_errors=True)
