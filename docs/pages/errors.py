"""The page of errors: classes, exit codes and remedies, and the driver's reaction to failures."""

import pkgutil
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module

import segtransfer
from pages.markdown import as_markdown, code, table, text_of
from segtransfer.errors import SegtransferError
from segtransfer.runtime.failures import FAILURES

# The remedy for each class. None: no command ends with the class, which is handled inside.
REMEDIES: dict[str, str | None] = {
    "SegtransferError": "Catch this class to catch every error of segtransfer.",
    "InputError": "Correct the field, file or option in the message. A retry does not help.",
    "ServerError": "Check address and network, then run the same command again.",
    "StoreError": (
        "Check the folder or bucket in the message: space, permissions, credentials. Then "
        "run the same command again. The code is 2 if the location itself is wrong."
    ),
    "TrackingError": (
        "The store holds the results. Check `MLFLOW_TRACKING_URI` and the server, then run "
        "`segtransfer report STORE --log`."
    ),
    "DriverError": "Run the same command again; stored results are kept.",
    "IncompleteStudyError": "Run the study again; `error.results` names the missing tasks.",
    "TrialError": (
        "The trial counts as failed, and the search continues. The message names the cause; "
        "`--resume` continues a stopped search."
    ),
    "OutputError": (
        "Check the file or program at the end of the output. A closed pipe gives the code 141."
    ),
    "OutputKindError": "Correct the model: the message names shape and kind of its output.",
    "UnknownClientError": None,
    "LostError": None,
    "Cancelled": None,
    "HoursUp": None,
}

HEAD = """\
# Errors

A command prints an error as a sentence and exits with the code of the class. `--debug` prints the
traceback as well. The traceback of every error but an `InputError` is also written to a file, whose
path the command prints.

In Python, `segtransfer.InputError` and `segtransfer.SegtransferError` are public. Every other class
is derived from `SegtransferError` and may move between modules.

"""
FAILURES_HEAD = """
## Failures of tasks

A run continues after the failure of a task. The driver reacts to the cause, as in the table, while
attempts are left (`runtime.attempts`). After the last attempt the traceback is stored under
`failures/`, tasks with this task as input are skipped, and the run exits with 1.

"""
CAUSES = {
    "infrastructure": "A worker or a node died.",
    "poisoned": "A device is unusable, as after a CUDA error; the executor recreates the worker.",
    "cancelled": "Every client of the task cancelled the task.",
    "task": "The task raised an error of its own: model, loss, transform or memory.",
    "deadline": "The call took far longer than similar calls.",
    "lost output": "Adversarial examples were lost with their worker.",
    "remote store": "A bucket refused a read or a write.",
    "local store": "A folder refused a read or a write.",
    "missing shard": "The store lacks the images of the task.",
    "damaged dependency": "Stored adversarial examples are corrupt.",
}


def errors_page() -> str:
    """Return the page: a table of classes, then a table of causes."""
    rows = []
    for error in sorted(error_classes(), key=lambda error: (error.exit_code, error.__name__)):
        remedy = REMEDIES[error.__name__]
        if remedy is not None:
            meaning = " ".join(text_of(error).split())
            rows.append([code(error.__name__), meaning, str(error.exit_code), remedy])
    inside = ", ".join(code(name) for name, remedy in sorted(REMEDIES.items()) if remedy is None)
    return (
        HEAD
        + table(["class", "meaning", "exit code", "remedy"], rows)
        + f"\nHandled inside, never the end of a command: {inside}.\n"
        + FAILURES_HEAD
        + table(["cause", "meaning", "reaction"], _causes())
    )


def error_classes() -> set[type[SegtransferError]]:
    """Return every class of errors of the package."""
    for module in pkgutil.walk_packages(segtransfer.__path__, "segtransfer."):
        if not module.name.startswith("segtransfer.tasks.models.zoo") and "__" not in module.name:
            import_module(module.name)
    found = {SegtransferError, *_derived(SegtransferError)}
    return {error for error in found if error.__module__.startswith("segtransfer.")}


def _derived(base: type[SegtransferError]) -> Iterator[type[SegtransferError]]:
    for error in base.__subclasses__():
        yield error
        yield from _derived(error)


def _causes() -> list[list[str]]:
    rows = []
    for cause, action in FAILURES.items():
        steps = [field.name.replace("_", " ") for field in fields(action)]
        done = [step for step in steps if getattr(action, step.replace(" ", "_"))]
        rows.append([cause, CAUSES[cause], as_markdown(", ".join(done) or "fail the task")])
    return rows
