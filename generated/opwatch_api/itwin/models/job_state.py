from enum import StrEnum


class JobState(StrEnum):
    ACTIVE = "active"
    CANCELLED = "cancelled"
    FAILED = "failed"
    SUCCESS = "success"
    UNSUBMITTED = "unsubmitted"

    def __str__(self) -> str:
        return str(self.value)
