"""Contains all the data models used in inputs/outputs"""

from .error import Error
from .error_detail import ErrorDetail
from .error_response import ErrorResponse
from .execution_information import ExecutionInformation
from .job import Job
from .job_issue import JobIssue
from .job_progress import JobProgress
from .job_progress_response import JobProgressResponse
from .job_progress_state import JobProgressState
from .job_response import JobResponse
from .job_state import JobState

__all__ = (
    "Error",
    "ErrorDetail",
    "ErrorResponse",
    "ExecutionInformation",
    "Job",
    "JobIssue",
    "JobProgress",
    "JobProgressResponse",
    "JobProgressState",
    "JobResponse",
    "JobState",
)
