"""The shipped specs, by name."""

from pathlib import Path

from segtransfer import search_spaces, tasks
from segtransfer.errors import InputError
from segtransfer.tasks.schema import suggest

EXPERIMENT_RECIPES = Path(tasks.__file__).parent / "recipes"
STUDY_BASES = Path(tasks.__file__).parent / "studies"
SEARCH_RECIPES = Path(search_spaces.__file__).parent / "recipes"


def recipe_names(folder: Path = EXPERIMENT_RECIPES) -> list[str]:
    """Return the names of the specs in a folder of shipped specs, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def find_spec(source: str, folder: Path, kind: str) -> Path:
    """Return the file of a spec, given by its path or by the name of a shipped spec.

    Args:
        source: The path of a YAML file, or the name of a spec in ``folder``.
        folder: The folder of shipped specs.
        kind: The kind of spec, for the error message: ``experiment``, ``search``, ``base``.

    Raises:
        InputError: If ``source`` is neither a file nor the name of a shipped spec.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path.resolve()
    names = recipe_names(folder)
    if source in names:
        return folder / f"{source}.yaml"
    raise InputError(f"{kind} '{source}' is neither a file nor a recipe: {suggest(source, names)}")
