from enum import StrEnum


class JobProgressState(StrEnum):
    ACTIVE = "Active"
    OVER = "Over"
    UNSUBMITTED = "Unsubmitted"

    def __str__(self) -> str:
        return str(self.value)
