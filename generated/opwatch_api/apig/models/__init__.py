"""Contains all the data models used in inputs/outputs"""

from .error_response import ErrorResponse
from .instance_progress import InstanceProgress
from .instance_status import InstanceStatus

__all__ = (
    "ErrorResponse",
    "InstanceProgress",
    "InstanceStatus",
)
