"""Files below one root, on a local disk or in a bucket: list, read, write whole, delete.

Errors are StoreError or InputError. The message names the operation, the path and a remedy.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from segtransfer.errors import InputError, SegtransferError
from segtransfer.store.local_disk import (
    files_below,
    folders_below,
    read_regular,
    replace_file,
    set_aside,
)
from segtransfer.tasks.urls import secret_part

# In these buckets an object is visible only after its upload ends, so a write is atomic.
BUCKETS = ("s3", "gs", "gcs", "abfs", "abfss")

_COMMITTED_STAYS = "committed results are kept"
_ADVICE = {
    errno.ENOSPC: f"free some space on the disk and run again: {_COMMITTED_STAYS}",
    errno.EDQUOT: f"free some of your quota and run again: {_COMMITTED_STAYS}",
    errno.EROFS: "the file system is read-only: give another folder as runtime.store",
    errno.EACCES: "give a folder that you may read and write as runtime.store",
    errno.EPERM: "give a folder that you may read and write as runtime.store",
    errno.ENOTDIR: "a part of this path is a plain file: give a folder as runtime.store",
    errno.EEXIST: "a part of this path is a plain file: give a folder as runtime.store",
}
_TRANSPORT = r"AWS Error|curlCode|google::cloud|Azure|Status\("
_CREDENTIALS = (
    "the bucket refuses these credentials, or none are set: set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), also on the nodes of workers"
)
_ENDPOINT = "nothing answers there: check endpoint_override and scheme in the URL, and the network"
_REMOTE_ADVICE = [
    (r"NO_SUCH_BUCKET", "the bucket does not exist: create the bucket, or correct the URL"),
    (r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|EXPIRED|TOKEN|CREDENTIAL|40[13]", _CREDENTIALS),
    (r"NETWORK_CONNECTION|REQUEST_TIMEOUT|curlCode", _ENDPOINT),
]


class StoreError(SegtransferError, OSError):
    """A failure to read or write a store; also an OSError.

    Attributes:
        errno: The system's error number, or None.
        exit_code: 2 if a part of the store's path is a file, else 1.
    """

    def __init__(self, number: int | None, sentence: str) -> None:
        super().__init__(sentence)
        self.errno = number
        if number in (errno.ENOTDIR, errno.EEXIST):  # the location itself is wrong
            self.exit_code = InputError.exit_code

    def __reduce__(self) -> tuple[type["StoreError"], tuple[int | None, str]]:
        return StoreError, (self.errno, str(self))


@dataclass(frozen=True)
class FileInfo:
    """A file of a store.

    Attributes:
        path: The path below the root.
        nbytes: The size in bytes.
        mtime_ns: The time of the last write, in nanoseconds since 1970.
    """

    path: str
    nbytes: int
    mtime_ns: int


def _resolved(location: str) -> str:
    try:
        return str(Path(location).expanduser().resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"store '{location}' is no usable path: {error}") from None


class Files:
    """The files below a root, a folder or bucket. The connection is made on first use.

    Paths are relative to the root, with ``/``. Methods raise StoreError if the file system or
    bucket fails, and InputError for a path outside the root.

    Attributes:
        location: The resolved path of the folder, or the URL of the bucket.
        remote: Whether the root is a bucket.
    """

    def __init__(self, location: str) -> None:
        """Set the root.

        Args:
            location: A folder (``~`` is the home folder), ``file://...``, or the URL of a bucket:
                s3, gs, gcs, abfs or abfss.

        Raises:
            InputError: The path is unusable, or the URL is of another kind or holds credentials.
        """
        parts = urlsplit(location) if "://" in location else None
        self.remote = parts is not None and parts.scheme != "file"
        if parts is None:
            self.location = _resolved(location)
        elif not self.remote:
            try:
                self.location = fs.FileSystem.from_uri(location)[1]
            except ValueError as error:
                raise InputError(f"store '{location}' is no usable URL: {error}") from None
        elif parts.scheme not in BUCKETS:
            raise InputError(
                f"store '{location}': a store is a folder or a bucket "
                f"({', '.join(f'{scheme}://' for scheme in BUCKETS)}), not {parts.scheme}://"
            )
        elif secret_part(location) or (parts.username and parts.scheme == "s3"):
            # The location is printed, logged, and handed to workers.
            raise InputError(
                f"store {parts.scheme}://{parts.hostname}{parts.path}: leave the credentials out "
                "of the URL; set them in the environment (AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY for s3://)"
            )
        else:
            self.location = location

    def __reduce__(self) -> tuple[type["Files"], tuple[str]]:
        return Files, (self.location,)

    def names(self, folder: str) -> list[str]:
        """Return the paths of all files below a folder, from listings alone.

        Args:
            folder: A path below the root; empty for the root. A missing folder has no files.

        Returns:
            Paths below the root, unordered, also of broken links, pipes and devices.
        """
        if self.remote:
            # An upload interrupted between opening and writing can leave an empty object.
            return [info.path for info in self._objects(folder) if info.nbytes]
        with self._sentences("listing", folder):
            return list(files_below(self.location, folder))

    def regular(self, folder: str) -> list[str]:
        """Return the paths of the regular files below a folder, unordered.

        Unlike ``names``, broken links, pipes and devices are left out.

        Args:
            folder: A path below the root; empty for the root.
        """
        names = self.names(folder)
        return names if self.remote else [name for name in names if self.info(name) is not None]

    def infos(self, folder: str) -> list[FileInfo]:
        """Return all regular files below a folder with size and time, sorted by path.

        Args:
            folder: A path below the root; empty for the root.
        """
        if self.remote:
            return sorted(self._objects(folder), key=lambda info: info.path)
        infos = (self.info(path) for path in sorted(self.names(folder)))
        return [info for info in infos if info is not None]

    def info(self, path: str) -> FileInfo | None:
        """Return a file's size and time.

        Returns:
            None if no regular file has this path.
        """
        with self._sentences("looking at", path):
            if self.remote:
                system, root = self._bucket
                info = system.get_file_info(f"{root}/{_inside(path)}")
                if info.type is not fs.FileType.File:
                    return None
                return FileInfo(path, info.size, info.mtime_ns or 0)
            with _missing_is_none():
                status = os.stat(f"{self.location}/{_inside(path)}")
                if stat.S_ISREG(status.st_mode):
                    return FileInfo(path, status.st_size, status.st_mtime_ns)
        return None

    def read(self, path: str) -> bytes | None:
        """Return the content of a file.

        Returns:
            None if the path is missing, or leads to a folder, a pipe or a device.
        """
        with self._sentences("reading", path), _missing_is_none():
            if not self.remote:
                return read_regular(f"{self.location}/{_inside(path)}")
            with self.open(path) as file:
                return file.read()
        return None

    def open(self, path: str) -> pa.NativeFile:
        """Open a file for random access. The caller closes the file.

        Raises:
            FileNotFoundError: No regular file has this path.
        """
        system, root = self._bucket if self.remote else (fs.LocalFileSystem(), self.location)
        with self._sentences("opening", path):
            if not self.remote and self.info(path) is None:
                raise FileNotFoundError(path)
            return system.open_input_file(f"{root}/{_inside(path)}")

    def folders(self, folder: str) -> list[str]:
        """Return the paths of all folders below a folder, unordered; none for a bucket."""
        if self.remote:
            return []
        with self._sentences("listing", folder):
            return list(folders_below(self.location, folder))

    def set_aside(self, path: str) -> None:
        """Clear the path of a file: remove an empty folder there, rename any other folder.

        The new name ends in ``.aside-`` and 8 hexadecimal digits. A missing folder is no error.
        """
        with self._sentences("making room for", path), suppress(FileNotFoundError):
            set_aside(Path(self.location, _inside(path)))

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file atomically: a rename on a local disk, one PUT in a bucket.

        Missing folders are created. A folder at the path of the file is set aside.

        Args:
            path: The path of the file.
            content: The new content of the file.

        Raises:
            StoreError: The file cannot be written. An earlier content is then kept.
        """
        with self._sentences(f"writing {len(content):,} bytes to", path):
            if not self.remote:
                replace_file(Path(self.location, _inside(path)), content)
                return
            system, root = self._bucket
            stream = system.open_output_stream(f"{root}/{_inside(path)}")
            stream.write(content)
            stream.close()

    def delete(self, path: str) -> None:
        """Delete a file, if it exists."""
        with self._sentences("removing", path), suppress(FileNotFoundError):
            if self.remote:
                system, root = self._bucket
                system.delete_file(f"{root}/{_inside(path)}")
            else:
                os.unlink(f"{self.location}/{_inside(path)}")

    def damaged(self, error: Exception) -> bool:
        """Return whether an error of Arrow's readers is due to damaged bytes.

        Args:
            error: An error raised while a file of this root was read.

        Returns:
            False for a missing file and for an error of the disk, the network or the server.
        """
        return not (
            isinstance(error, (FileNotFoundError, StoreError, InputError))
            or getattr(error, "errno", None)
            or re.search(_TRANSPORT, str(error))
        )

    def _objects(self, folder: str) -> Iterator[FileInfo]:
        with self._sentences("listing", folder):
            system, root = self._bucket
            base = f"{root}/{folder}".rstrip("/")
            selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
            for info in system.get_file_info(selector):
                if info.type is fs.FileType.File:
                    path = info.path.removeprefix(f"{root}/")
                    yield FileInfo(path, info.size, info.mtime_ns or 0)

    @cached_property
    def _bucket(self) -> tuple[fs.FileSystem, str]:
        """Return the connection, and the root with the bucket's name.

        Raises:
            InputError: The URL is unusable, or the bucket does not exist.
        """
        location = self.location
        if location.startswith("s3://"):
            # Without delayed opening, a small file costs the three requests of an upload in parts.
            location += ("&" if "?" in location else "?") + "allow_delayed_open=true"
        try:
            system, root = fs.FileSystem.from_uri(location)
        except (ValueError, NotImplementedError) as error:
            raise InputError(f"store '{self.location}' is no usable URL: {error}") from None
        except OSError as error:
            raise self._explained(error, "opening", "") from error
        bucket = root.split("/")[0]
        if not bucket:
            raise InputError(f"store '{self.location}' names no bucket; give s3://bucket/folder")
        with self._sentences("opening", ""):
            kind = system.get_file_info(bucket).type
        if kind is fs.FileType.NotFound:
            raise InputError(_no_bucket(bucket, self.location))
        return system, root.rstrip("/")

    @contextmanager
    def _sentences(self, doing: str, path: str) -> Iterator[None]:
        """Raise an OSError as a StoreError with a sentence; FileNotFoundError stays as it is."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            # A StoreError of a nested call has its sentence already.
            raise self._explained(error, doing, path) from error

    def _explained(self, error: OSError, doing: str, path: str) -> OSError:
        """Return a StoreError that names the operation, the path and a remedy."""
        if isinstance(error, StoreError):
            return error
        text = (error.strerror or str(error)).splitlines()[0].split(" (Request ID")[0]
        advice = _ADVICE.get(error.errno or 0, "")
        if self.remote:
            advice = next((a for pattern, a in _REMOTE_ADVICE if re.search(pattern, text)), "")
        sentence = f"{text}, on {doing} {path or 'the root'} of store {self.location}"
        return StoreError(error.errno, f"{sentence}; {advice}" if advice else sentence)


def _inside(path: str) -> str:
    """Return the path; refuse a path outside the root, which an altered row may hold."""
    if path.startswith("/") or ".." in path.split("/"):
        raise InputError(f"path '{path}' is outside the store: a row or description was altered")
    return path


def _no_bucket(bucket: str, location: str) -> str:
    return (
        f"bucket '{bucket}' of store {location} does not exist; create the bucket, or correct the "
        "URL (s3://bucket/folder, with ?endpoint_override=host:port&scheme=http for another server)"
    )


@contextmanager
def _missing_is_none() -> Iterator[None]:
    """End the block if a path is missing, or leads through a file or a circle of links."""
    try:
        yield
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)  # Arrow's has no number
        if not missing and error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
