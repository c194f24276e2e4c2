"""The exceptions for wrong input of the user, and for trouble of a server."""


class InputError(ValueError):
    """A wrong spec, file, model or data set. The message is a sentence for the user."""


class ServerError(RuntimeError):
    """A server in trouble of its own (HTTP 5xx): the same call may succeed later."""
