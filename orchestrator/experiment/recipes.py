"""The shipped specs, by name."""

from collections.abc import Sequence
from pathlib import Path

from segtransfer import search_spaces, tasks
from segtransfer.errors import InputError
from segtransfer.tasks.schema import shorten, suggest

EXPERIMENT_RECIPES = Path(tasks.__file__).parent / "recipes"
STUDY_BASES = Path(tasks.__file__).parent / "studies"
SEARCH_RECIPES = Path(search_spaces.__file__).parent / "recipes"


def recipe_names(folder: Path = EXPERIMENT_RECIPES) -> list[str]:
    """Return the names of the specs in a folder of shipped specs, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def find_spec(source: str, folders: Sequence[Path], kind: str) -> Path:
    """Return the file of a spec, given by its path or by the name of a shipped spec.

    Args:
        source: The path of a YAML file, or the name of a spec in one of ``folders``.
        folders: The folders of shipped specs.
        kind: The kind of spec, for the error message: ``experiment``, ``search``, ``base``.

    Returns:
        The resolved path of an existing file. A file precedes a shipped spec of the same name.

    Raises:
        InputError: ``source`` is a folder, or neither a file nor the name of a shipped spec.
    """
    path = file_of(source)
    if path is not None:
        return path
    names = [name for folder in folders for name in recipe_names(folder)]
    if source in names:
        return next(file for f in folders if (file := f / f"{source}.yaml").is_file())
    if is_folder(source):
        raise InputError(f"{kind} '{source}' is a folder; give a YAML file in the folder")
    raise InputError(
        f"{kind} '{shorten(source)}' is neither a file nor a recipe; {suggest(source, names)}"
    )


def is_folder(text: str) -> bool:
    """Tell whether a text is the path of a folder.

    Args:
        text: A path, with ``~`` for a home folder; text that cannot be a path is none.
    """
    try:
        return Path(text).expanduser().is_dir()
    except (OSError, RuntimeError):  # too long for a path, or of an unknown user
        return False


def file_of(text: str, folder: Path = Path()) -> Path | None:
    """Return the file at a path, or None.

    Args:
        text: A path, or any other text.
        folder: The folder at which a relative path starts.

    Returns:
        The resolved path; None if no regular file exists there.
    """
    try:
        path = folder / Path(text).expanduser()
        return path.resolve() if path.is_file() else None
    except (OSError, RuntimeError):  # too long for a path, or of an unknown user
        return None
