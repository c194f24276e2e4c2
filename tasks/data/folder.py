"""Data sets in folders, as the shipped sample: images/ and labels/ with equal file stems."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import DataItem, Dataset, palette_for, sequence_of, video_of
from segtransfer.tasks.data.dataset_file import read_dataset_file
from segtransfer.tasks.data.label_values import label_values
from segtransfer.tasks.data.names import composed
from segtransfer.tasks.data.spec import SPLITS, DataSpec

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
SAMPLES = Path(__file__).resolve().parent


def open_folder(spec: DataSpec) -> Dataset:
    """Open the folder data set of a spec.

    An optional ``dataset.json`` beside images/ gives classes, palette, and a regular expression
    whose first group is the sequence name in an image's id. If images/ itself holds no image, the
    folders below are read, and ids contain the folder.

    Args:
        spec: The data set, with ``folder`` or ``sample``.

    Returns:
        The data set; an image without a label is a sentence of its ``faults``.

    Raises:
        InputError: If a folder is missing, two images or two labels have the same name, or the
            class list is unknown.
    """
    root = SAMPLES / spec.sample if spec.sample else Path(spec.folder or ".")
    if not root.is_dir():
        raise InputError(f"data.folder {root} does not exist; give the path of an existing folder")
    notes = read_dataset_file(root / "dataset.json")
    classes = spec.classes or notes.classes
    if not classes:
        raise InputError(f"data.folder {root} has no dataset.json with classes; give data.classes")
    split = [spec.split] if spec.split else []
    images, labels = root.joinpath("images", *split), root.joinpath("labels", *split)
    for folder in (images, labels):
        if not folder.is_dir():
            raise InputError(
                f"data.folder {root} has no {folder.relative_to(root)}/; put images in images/ and "
                "labels of the same names in labels/"
            )
    values = label_values(spec, classes, notes.palette)
    items, faults = _items(images, labels, spec, notes.sequence)
    return Dataset(
        name=spec.sample or root.name,
        classes=classes,
        palette=palette_for(len(classes), notes.palette),
        items=items,
        read_label=lambda item: values.read(item.label),
        faults=faults,
    )


def _items(
    images: Path, labels: Path, spec: DataSpec, pattern: str | None
) -> tuple[tuple[DataItem, ...], tuple[str, ...]]:
    """Return the items in the order of their paths, and a sentence per image without a label."""
    deep = not any(_is_image(path) for path in visible(images) if path.is_file())
    if deep and not spec.split:
        splits = [path.name for path in visible(images) if path.name in SPLITS]
        if splits:
            raise InputError(
                f"{images} holds the folders {', '.join(splits)}; choose one with data.split"
            )
    photos = [path for path in _files(images, deep) if _is_image(path)]
    image_names = _names(images, photos, spec.image_suffix, "images")
    Image.init()
    extensions = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    masks = [path for path in _files(labels, deep) if path.suffix.lower() in extensions]
    label_files = _names(labels, masks, spec.label_suffix, "labels")
    several = len({path.parent for path in image_names.values()}) > 1
    items, faults = [], []
    for name, path in image_names.items():
        if name not in label_files:
            faults.append(
                f"image {path} has no label: {labels} holds no image file named "
                f"'{name}{spec.label_suffix}'"
            )
            continue
        image_id = path.relative_to(images).with_suffix("").as_posix()
        sequence = sequence_of(image_id, pattern) if pattern else video_of(image_id, several)
        items.append(DataItem(image_id, sequence, path, label_files[name]))
    return tuple(items), tuple(faults)


def _names(folder: Path, paths: list[Path], suffix: str, what: str) -> dict[str, Path]:
    """Return the files whose name ends with a suffix, by their relative path without the suffix.

    Names are in Unicode's composed normal form, because macOS writes the decomposed form.

    Raises:
        InputError: If two files have the same name, or no name ends with the suffix.
    """
    names: dict[str, Path] = {}
    for path in paths:
        ends = (composed(path.stem), composed(path.name))
        base = next((end for end in ends if end.endswith(suffix)), None)
        if base is None:
            continue
        within = path.parent.relative_to(folder) / base.removesuffix(suffix)
        name = composed(within.as_posix())
        if name in names:
            raise InputError(
                f"{folder} has two {what} named '{name}': {names[name].name} and {path.name}; "
                "delete the wrong file"
            )
        names[name] = path
    if paths and not names:
        raise InputError(
            f"{folder} holds no file whose name ends with '{suffix}', but {paths[0].name}; change "
            f"data.{what.removesuffix('s')}_suffix"
        )
    return names


def image_files(folder: Path) -> list[Path]:
    """Return the images in a folder and the folders below, by path.

    Args:
        folder: An existing folder.

    Raises:
        InputError: If a folder cannot be listed.
    """
    return [path for path in _files(folder, deep=True) if _is_image(path)]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _files(folder: Path, deep: bool) -> Iterator[Path]:
    """Yield the visible files of a folder, and with ``deep`` of the folders below."""
    for path in visible(folder):
        if not path.is_dir():
            yield path
        elif deep:
            yield from _files(path, deep)


def visible(folder: Path) -> list[Path]:
    """Return the entries of a folder in order, without hidden entries such as macOS's ``._``.

    Args:
        folder: An existing folder.

    Raises:
        InputError: If the folder cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"folder {folder} cannot be listed: {error}; make it readable for this user"
        ) from error
