"""Adversarial examples made elsewhere: a PNG per image in the folder ``files``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.file_hash import content_hash
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.names import composed, file_name
from segtransfer.tasks.image_files import check_mode, opened, read_image
from segtransfer.tasks.perturbation import inside, statistics


def find_files(spec: AttackSpec, image_ids: Sequence[str]) -> list[Path]:
    """Return the file of each image in the folder ``files``.

    A file is named by the image's id, with or without the escapes of ``file_name``, in either
    Unicode normal form.

    Args:
        spec: An attack with ``files``.
        image_ids: An id per image.

    Returns:
        A PNG file per image, in the order of the ids.

    Raises:
        InputError: If the folder changed since the plan, or an image has no PNG file or two files.
    """
    folder = Path(str(spec.files))
    if not folder.is_dir() or content_hash(folder) != spec.files_sha256:
        raise InputError(
            f"attack '{spec.name}': files {folder} changed or vanished since the plan; restore the "
            "folder, or run the spec again"
        )
    named = _names(folder)
    paths = []
    for image_id in image_ids:
        names = dict.fromkeys(composed(name) for name in (file_name(image_id), image_id))
        found = [path for name in names for path in named.get(name, ())]
        if len(found) > 1:
            raise InputError(
                f"attack '{spec.name}': files {folder} has two AEs named '{image_id}': "
                f"{found[0].relative_to(folder)} and {found[1].relative_to(folder)}; delete the "
                "wrong file"
            )
        if not found or found[0].suffix.lower() != ".png":
            action = f"save {found[0].name} as PNG" if found else "add this file"
            raise InputError(
                f"attack '{spec.name}': image {image_id} has no {folder / image_id}.png; {action}"
            )
        paths.append(found[0])
    return paths


def _names(folder: Path) -> dict[str, list[Path]]:
    """Return the visible image files below a folder, by their path without the suffix."""
    Image.init()
    extensions = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    named: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in extensions and not path.name.startswith("."):
            within = path.relative_to(folder).with_suffix("").as_posix()
            named[composed(within)].append(path)
    return named


def check_files(spec: AttackSpec, image_ids: Sequence[str], size: tuple[int, int]) -> None:
    """Check the files of images before any computation, without decoding pixels.

    Args:
        spec: An attack with ``files``.
        image_ids: An id per image.
        size: Height and width of the images, in pixels.

    Raises:
        InputError: As ``find_files``; or if a file is no image, has pixels of another kind than RGB
            or grey of 8 or 16 bits, or another size.
    """
    for path in find_files(spec, image_ids):
        with opened(path, "image") as file:
            check_mode(file, path)
            sides = file.height, file.width
            turned = file.getexif().get(0x0112, 1) > 4  # EXIF orientations with swapped sides
        _check_size(spec, path, sides[::-1] if turned else sides, size)


def _check_size(
    spec: AttackSpec, path: Path, found: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    """Refuse an AE of another height or width than its image."""
    if found != wanted:
        raise InputError(
            f"attack '{spec.name}': {path} is {found[0]} x {found[1]} (height x width), the image "
            f"is {wanted[0]} x {wanted[1]}; save the AE at the image's size, or set data.size"
        )


def read_files(spec: AttackSpec, clean: np.ndarray, image_ids: Sequence[str]) -> np.ndarray:
    """Read adversarial examples made elsewhere, and check their distance.

    Args:
        spec: An attack with ``files``.
        clean: Clean images, uint8 N x 3 x H x W.
        image_ids: An id per image.

    Returns:
        The adversarial examples, uint8 N x 3 x H x W, RGB.

    Raises:
        InputError: As ``find_files``; or if a file cannot be read, has another size, or is outside
            the eps-ball.
    """
    adversarial = []
    for path, original in zip(find_files(spec, image_ids), clean, strict=True):
        image = read_image(path).transpose(2, 0, 1)
        _check_size(spec, path, image.shape[1:], original.shape[1:])
        measured = statistics(image[None], original[None], spec.eps)
        if not inside(measured, spec):
            raise InputError(
                f"attack '{spec.name}': {path} differs from its image by "
                f"{measured['linf'][0]:.0f} levels (RMS {measured['rms'][0]:.2f}), eps is "
                f"{spec.eps * 255:g} levels under {spec.norm}; give the eps of the attack that "
                "made the file"
            )
        adversarial.append(image)
    return np.stack(adversarial)
