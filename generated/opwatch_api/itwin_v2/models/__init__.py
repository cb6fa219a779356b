"""Contains all the data models used in inputs/outputs"""

from .error import Error
from .error_detail import ErrorDetail
from .error_response import ErrorResponse
from .job_message import JobMessage
from .job_messages import JobMessages
from .job_messages_response import JobMessagesResponse
from .job_progress import JobProgress
from .job_progress_response import JobProgressResponse
from .job_state import JobState

__all__ = (
    "Error",
    "ErrorDetail",
    "ErrorResponse",
    "JobMessage",
    "JobMessages",
    "JobMessagesResponse",
    "JobProgress",
    "JobProgressResponse",
    "JobState",
)
