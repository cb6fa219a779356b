"""Waits that note their events."""


class Told(list):
    """The events of a wait."""

    def __call__(self, event):
        self.append(event)

    @property
    def kinds(self):
        return [type(event).__name__ for event in self]

    def dicts(self):
        return [event.to_dict() for event in self]


def how(job):
    return {"timeout": job.timeout, **job.how}
