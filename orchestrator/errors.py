"""The exceptions of wrong input and of servers in trouble."""


class InputError(ValueError):
    """A wrong spec, file, model or data set. The message is a sentence for the user."""


class ServerError(RuntimeError):
    """A server that failed or cannot be reached. The input can be right; the exit code is 1."""
