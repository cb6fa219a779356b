"""Contains all the data models used in inputs/outputs"""

from .error_response import ErrorResponse
from .final_message_progress_event import FinalMessageProgressEvent
from .message_action import MessageAction
from .message_progress import MessageProgress
from .message_progress_data import MessageProgressData
from .message_progress_response import MessageProgressResponse
from .processing_error import ProcessingError
from .processing_result import ProcessingResult

__all__ = (
    "ErrorResponse",
    "FinalMessageProgressEvent",
    "MessageAction",
    "MessageProgress",
    "MessageProgressData",
    "MessageProgressResponse",
    "ProcessingError",
    "ProcessingResult",
)
