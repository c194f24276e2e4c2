"""Ordinary folders of images per class: ROOT/CLASS/IMAGE, with a class per image."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import DataItem, Dataset, palette_for
from segtransfer.tasks.data.folder import image_files, visible
from segtransfer.tasks.data.names import ClassName, composed
from segtransfer.tasks.data.reader_spec import READERS, ReaderSpec
from segtransfer.tasks.schema import AnyPath, suggest


@READERS.add("class-folders")
class ClassFolders(ReaderSpec):
    """A folder per class, with the images of the class, for classifiers.

    Attributes:
        kind: The name, ``class-folders``.
        root: The folder with a folder per class; with ``data.split``, the folder ``root/SPLIT``.
        classes: The names of the folders by class index, 2 to 255; a class may lack a folder.
            Default all folders, by name.
    """

    kind: Literal["class-folders"] = "class-folders"
    root: AnyPath
    classes: Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=255)] | None = None

    @override
    def open(self, split: str | None) -> Dataset:
        root = Path(self.root, split or "")
        if not root.is_dir():
            raise InputError(f"class-folders.root {root} does not exist; give an existing folder")
        folders = {composed(path.name): path for path in visible(root) if path.is_dir()}
        if self.classes is None and len(folders) < 2:
            raise InputError(
                f"class-folders.root {root} has {len(folders)} folders, and each is a class; give "
                "a folder with 2 class folders or more"
            )
        classes = tuple(map(composed, self.classes or folders))
        for name in folders:
            if name not in classes:
                raise InputError(
                    f"class-folders.root {root} has the folder '{name}', no class of "
                    f"class-folders.classes; {suggest(name, classes)}"
                )
        items = [
            DataItem(image_id, image_id, path, path)
            for folder in folders.values()
            for path in image_files(folder)
            for image_id in [composed(path.relative_to(root).with_suffix("").as_posix())]
        ]
        index = {folder: classes.index(name) for name, folder in folders.items()}

        def read_label(item: DataItem) -> np.ndarray:
            place = next(p for p in item.label.parents if p in index)
            return np.full((1, 1), index[place], np.uint8)

        return Dataset(
            name=root.name,
            classes=classes,
            palette=palette_for(len(classes), ()),
            items=tuple(items),
            read_label=read_label,
            labels_of=("images",),
        )
