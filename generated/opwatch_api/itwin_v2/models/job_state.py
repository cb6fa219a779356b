from enum import StrEnum


class JobState(StrEnum):
    ACTIVE = "Active"
    CANCELLED = "Cancelled"
    FAILED = "Failed"
    QUEUED = "Queued"
    SUCCESS = "Success"
    TERMINATINGONCANCEL = "TerminatingOnCancel"
    TERMINATINGONFAILURE = "TerminatingOnFailure"

    def __str__(self) -> str:
        return str(self.value)
