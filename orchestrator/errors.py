"""The exception for wrong input of the user."""


class InputError(ValueError):
    """A wrong spec, file, model or data set. The message is a sentence for the user."""
