"""Contains all the data models used in inputs/outputs"""

from .error_response import ErrorResponse
from .gateway import Gateway
from .gateway_status import GatewayStatus
from .identity_error import IdentityError
from .instance_progress import InstanceProgress
from .instance_status import InstanceStatus
from .ip_details import IpDetails

__all__ = (
    "ErrorResponse",
    "Gateway",
    "GatewayStatus",
    "IdentityError",
    "InstanceProgress",
    "InstanceStatus",
    "IpDetails",
)
