# Run this in the folder of watch_jobs.py, with the service's credentials in the environment.
export BROKER_URL=${BROKER_URL:-redis://127.0.0.1:6379/0}
exec celery --app watch_jobs worker --beat
