"""Contains all the data models used in inputs/outputs"""

from .error_response import ErrorResponse
from .identity_error import IdentityError
from .instance_progress import InstanceProgress
from .instance_status import InstanceStatus

__all__ = (
    "ErrorResponse",
    "IdentityError",
    "InstanceProgress",
    "InstanceStatus",
)
