"""Start a wait in the task queue and print its result: `python begin_wait.py itwin JOB_ID`.

The worker of watch_jobs.py polls; this process only waits for the result.
"""

import sys

from watch_jobs import begin

service, job_id = sys.argv[1:]
result = begin(service, job_id, timeout=6 * 3600)
print(result.get())
