"""Why a request is not answered: a status code of gRPC's, its HTTP counterpart, and a message."""

import enum


class Code(enum.Enum):
    """(the number both gRPC and TensorFlow give a status, the HTTP status TF Serving maps it to)."""
    OK = 0, 200
    CANCELLED = 1, 499
    UNKNOWN = 2, 500
    INVALID_ARGUMENT = 3, 400
    DEADLINE_EXCEEDED = 4, 504
    NOT_FOUND = 5, 404
    ALREADY_EXISTS = 6, 409
    PERMISSION_DENIED = 7, 403
    RESOURCE_EXHAUSTED = 8, 429
    FAILED_PRECONDITION = 9, 400
    ABORTED = 10, 409
    OUT_OF_RANGE = 11, 400
    UNIMPLEMENTED = 12, 501
    INTERNAL = 13, 500
    UNAVAILABLE = 14, 503
    DATA_LOSS = 15, 500
    UNAUTHENTICATED = 16, 401

    @property
    def number(self) -> int:
        return self.value[0]

    @property
    def http(self) -> int:
        return self.value[1]


BY_NUMBER = {code.number: code for code in Code}


class Refusal(Exception):
    """A request that is not answered. `http` overrules the HTTP status of the code (413, 408)."""

    def __init__(self, code: Code, message: str, http: int | None = None):
        super().__init__(message)
        self.code, self.message, self.http = code, message, http or code.http


def invalid(message: str) -> Refusal:
    return Refusal(Code.INVALID_ARGUMENT, message)


def utf8(text: str, of: str = "") -> bytes:
    """of: whose text it is, as a message begins. Raises: Refusal of half a surrogate pair, which JSON can hold."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise invalid(f"{of}half of a surrogate pair is no text") from error
