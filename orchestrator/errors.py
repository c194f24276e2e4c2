"""The one exception that means: the user's input is wrong."""


class InputError(ValueError):
    """A wrong spec, file, model or data set; its message is a sentence for the user."""
