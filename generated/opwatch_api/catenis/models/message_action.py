from enum import StrEnum


class MessageAction(StrEnum):
    LOG = "log"
    READ = "read"
    SEND = "send"

    def __str__(self) -> str:
        return str(self.value)
