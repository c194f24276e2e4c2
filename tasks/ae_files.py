"""Adversarial examples that were made elsewhere: one PNG per image in the folder ``files``."""

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

    A file is named by the image's id, as it is or as ``file_name`` writes it, in either Unicode
    normal form.

    Args:
        spec: An attack with ``files``.
        image_ids: An id per image.

    Returns:
        A PNG file per image.

    Raises:
        InputError: If the folder changed, or an image has no file or two.
    """
    folder = Path(str(spec.files))
    if not folder.is_dir() or content_hash(folder) != spec.files_sha256:
        raise InputError(f"attack '{spec.name}': files {folder} changed or vanished since the plan")
    named = _names(folder)
    paths = []
    for image_id in image_ids:
        names = dict.fromkeys(composed(name) for name in (file_name(image_id), image_id))
        found = [path for name in names for path in named.get(name, ())]
        if len(found) > 1:
            raise InputError(
                f"attack '{spec.name}': files {folder} has two AEs named '{image_id}': "
                f"{found[0].relative_to(folder)} and {found[1].relative_to(folder)}; remove the "
                "wrong file"
            )
        if not found or found[0].suffix.lower() != ".png":
            other = f", but {found[0].name}; save it as PNG" if found else ""
            raise InputError(
                f"attack '{spec.name}': image {image_id} has no {folder / image_id}.png{other}"
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
    """Check the files of images before anything is computed, without decoding their pixels.

    Args:
        spec: An attack with ``files``.
        image_ids: An id per image.
        size: Height and width of the images.

    Raises:
        InputError: As ``find_files``; or if a file is no image of 8 or 16 bits of this size.
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
    """Refuse an AE whose height and width are not the image's."""
    if found != wanted:
        raise InputError(
            f"attack '{spec.name}': {path} is {found[0]} x {found[1]} (height x width), the image "
            f"is {wanted[0]} x {wanted[1]}"
        )


def read_files(spec: AttackSpec, clean: np.ndarray, image_ids: Sequence[str]) -> np.ndarray:
    """Read adversarial examples that were made elsewhere.

    Args:
        spec: An attack with ``files``.
        clean: Clean images, uint8 N x 3 x H x W.
        image_ids: An id per image.

    Returns:
        The adversarial examples, uint8 N x 3 x H x W.

    Raises:
        InputError: As ``find_files``; or if a file is unreadable, of another size, or outside the
            eps-ball.
    """
    adversarial = []
    for path, original in zip(find_files(spec, image_ids), clean, strict=True):
        image = read_image(path).transpose(2, 0, 1)
        _check_size(spec, path, image.shape[1:], original.shape[1:])
        measured = statistics(image[None], original[None], spec.eps)
        if not inside(measured, spec):
            raise InputError(
                f"attack '{spec.name}': {path} lies {measured['linf'][0]:.0f} levels (RMS "
                f"{measured['rms'][0]:.2f}) from its image, eps is {spec.eps * 255:g} under "
                f"{spec.norm}; give the eps that it was made with"
            )
        adversarial.append(image)
    return np.stack(adversarial)
