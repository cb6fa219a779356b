"""As openapi-python-client writes it."""


class Unset:
    def __bool__(self):
        return False


UNSET = Unset()
