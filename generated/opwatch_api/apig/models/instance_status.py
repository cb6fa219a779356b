from enum import StrEnum


class InstanceStatus(StrEnum):
    CREATING = "creating"
    FAILED = "failed"
    SUCCESS = "success"

    def __str__(self) -> str:
        return str(self.value)
