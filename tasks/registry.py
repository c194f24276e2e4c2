"""Registries: shipped entries of a subject, of installed packages and of the user's folder.

A subject is a kind of part, for example transforms. A shipped entry has a plain name. An
entry of an installed package has the name of its entry point in the group ``segtransfer.SUBJECT``.
Any other entry is named ``package.module:attribute``.
"""

import pkgutil
import re
from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import currentframe, isabstract
from threading import RLock
from typing import Any, ClassVar, TypeVar

from pydantic import ConfigDict, ValidationError
from pydantic_core import PydanticCustomError
from typing_extensions import override

from segtransfer.errors import InputError
from segtransfer.tasks.schema import Frozen, Text, again, suggest
from segtransfer.tasks.user_code import find_function, source_hash

Registered = TypeVar("Registered")
AnyForeign = TypeVar("AnyForeign", bound="ForeignSpec")


class Registry(Mapping[str, Registered]):
    """The entries of a subject; as a mapping, the shipped entries by name.

    ``LOSSES["cross-entropy"]`` is a shipped entry; ``LOSSES.find("my_losses:mine")`` imports an
    entry of your own.

    Attributes:
        subject: The subject in the plural, for example ``transforms``.
        form: The kind of object of an entry, for messages.
    """

    def __init__(
        self, subject: str, homes: tuple[str, ...], fits: Callable[[Any], bool], form: str
    ) -> None:
        """Make a registry; its homes are imported at the first use.

        Args:
            subject: The subject in the plural.
            homes: Modules with shipped entries, and packages with such modules.
            fits: Tells whether an object can be an entry.
            form: The kind of object of an entry, for messages.
        """
        self.subject, self.form = subject, form
        self._homes, self._fits = homes, fits
        self._lock, self._is_loading, self._is_loaded = RLock(), False, False
        self._shipped: dict[str, Registered] = {}
        self._found: dict[tuple[str, str], Registered] = {}

    def add(self, name: str) -> Callable[[Registered], Registered]:
        """Return a decorator that adds a shipped entry.

        Args:
            name: The entry's name in specs, without ":".

        Returns:
            A decorator; it returns the entry unchanged.

        Raises:
            ValueError: If the calling module is outside segtransfer, because no key would cover its
                code (specs name entries of users as ``module:attribute``), if the name is taken or
                contains ":", or if the entry is no such object.
        """
        frame = currentframe()
        module = frame.f_back.f_globals["__name__"] if frame and frame.f_back else ""
        homes = (*self._homes, __name__.partition(".")[0])
        if not any(f"{module}.".startswith(f"{home}.") for home in homes):
            raise ValueError(
                f"{self.one} {name!r} is added in {module}, outside segtransfer; name the object "
                f"in specs instead, as {module}:attribute"
            )

        def added(entry: Registered) -> Registered:
            if not self._fits(entry) or ":" in name or name in self._shipped:
                raise ValueError(
                    f"{self.one} {name!r} is no {self.form}, or its name is taken or contains ':'"
                )
            self._shipped[name] = entry
            return entry

        return added

    def __getitem__(self, name: str) -> Registered:
        """Return a shipped entry by name; raise KeyError for any other name."""
        return self._loaded()[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the shipped entries."""
        return iter(self._loaded())

    def __len__(self) -> int:
        """Return the number of shipped entries."""
        return len(self._loaded())

    def installed(self) -> dict[str, str]:
        """Return the entries of installed packages.

        Returns:
            ``module:attribute`` by the name of the entry point.
        """
        return {name: points[0].value for name, points in _points(self.subject).items()}

    def names(self) -> list[str]:
        """Return the names of shipped entries, then of entries of installed packages.

        Returns:
            Names without repeats; a shipped entry hides an installed entry of the same name.
        """
        return [*self, *(name for name in self.installed() if name not in self)]

    def is_foreign(self, name: str) -> bool:
        """Tell whether a name has the form of an entry of a package or of the user.

        Args:
            name: A name from a spec.

        Returns:
            True for ``module:attribute`` and for names of installed entry points, unless shipped.
        """
        placed = re.fullmatch(r"[\w.]+:\w+", name) is not None
        return name not in self and (placed or name in _points(self.subject))

    def find(self, name: str, sha256: str | None = None) -> Registered:
        """Return an entry by any of its names.

        Args:
            name: A plain name, or ``package.module:attribute``.
            sha256: The hash of the entry's code at the time of the plan; None accepts any code. An
                entry found by its hash is cached, so a later edit of its file stops no run.

        Returns:
            The entry.

        Raises:
            InputError: If the name is unknown, or the entry cannot be imported, is of another kind,
                or has another hash.
        """
        if name in self:
            return self[name]
        if sha256 is not None and (name, sha256) in self._found:
            return self._found[name, sha256]
        entry = self._told(find_function, self._place(name))
        if not self._fits(entry):
            raise InputError(
                f"{self.one} {name} is no {self.form}, but {type(entry).__name__}; name another "
                "attribute"
            )
        if sha256 is not None:
            if self.code_hash(name) != sha256:
                raise InputError(
                    f"the code of {self.one} {name} changed since the plan; restore the file, or "
                    "run the spec again"
                )
            self._found[name, sha256] = entry
        return entry

    def code_hash(self, name: str) -> str | None:
        """Return the hash of an entry's code, for keys.

        Args:
            name: A plain name, or ``package.module:attribute``.

        Returns:
            64 hex digits over the entry's file and the user's own modules that it imports; None for
            a shipped entry.

        Raises:
            InputError: As ``find``.
        """
        if name in self:
            return None
        hashed = partial(source_hash, whole_package=":" not in name)
        return self._told(hashed, self._place(name))

    def _told(self, function: Callable[[str], Any], place: str) -> Any:
        """Return a function's result; put the subject before its errors."""
        try:
            return function(place)
        except InputError as error:
            raise InputError(f"{self.one} {error}") from error.__cause__

    def _place(self, name: str) -> str:
        """Return ``module:attribute`` of an entry of a package or of the user."""
        if ":" in name:
            return name
        points = _points(self.subject).get(name, [])
        if len(points) > 1:
            places = " and ".join(point.value for point in points)
            raise InputError(
                f"{self.one} '{name}' is an entry point of several packages; write {places}"
            )
        if not points:
            hint = suggest(name, self.names())
            raise InputError(
                f"unknown {self.one} '{name}'; {hint}; name your own as package.module:attribute"
            )
        return points[0].value

    @property
    def one(self) -> str:
        """Return the subject in the singular, for example ``transform``."""
        return "loss" if self.subject == "losses" else self.subject.removesuffix("s")

    def _loaded(self) -> dict[str, Registered]:
        if self._is_loaded:
            return self._shipped
        with self._lock:  # reentrant, because the imports below may use the registry
            if self._is_loading:
                return self._shipped
            self._is_loading = True
            try:
                for home in self._homes:
                    module = import_module(home)
                    for part in pkgutil.iter_modules(getattr(module, "__path__", ())):
                        import_module(f"{home}.{part.name}")
                self._is_loaded = True
            finally:
                self._is_loading = False
        return self._shipped


@cache
def _points(subject: str) -> dict[str, list[EntryPoint]]:
    """Return the entry points of a subject by name; equal entry points count once."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"segtransfer.{subject}"):
        if all(point.value != other.value for other in found.setdefault(point.name, [])):
            found[point.name].append(point)
    return found


class EntrySpec(Frozen, ABC):
    """The fields of an entry in a spec.

    Attributes:
        kind: The name of the entry.
    """

    kind: Text

    @classmethod
    @override
    def keys_to_write(cls) -> list[str]:
        return [key for key in super().keys_to_write() if key != "kind"]

    def typed(self) -> Any:
        """Return the entry as an object of its own class: this object."""
        return self


class ForeignSpec(EntrySpec):
    """The fields of an entry of a package or of the user: data, usable without the entry's code.

    Attributes:
        registry: The registry of the entry's subject.
        sha256: The sha256 of the entry's code, filled in when the spec is read; leave it out.
    """

    model_config = ConfigDict(extra="allow")

    registry: ClassVar[Registry[Any]]

    sha256: Text

    def typed(self) -> Any:
        """Return the entry as an object of its own class, whose code is imported.

        Returns:
            An object with the fields of this spec.

        Raises:
            InputError: If the entry's code is missing or has another hash.
        """
        fields = self.model_dump(exclude={"sha256"})
        return self.registry.find(self.kind, self.sha256).model_validate(fields)


def is_spec_of(base: type[EntrySpec]) -> Callable[[Any], bool]:
    """Return a test for entries of a registry of specs.

    Args:
        base: The base class of the entries.

    Returns:
        A function that accepts classes derived from ``base`` with all of its methods. A class with
        a field ``sha256`` is refused, because the field holds the hash of the code.
    """

    def fits(entry: Any) -> bool:
        return (
            isinstance(entry, type)
            and issubclass(entry, base)
            and not issubclass(entry, ForeignSpec)
            and not isabstract(entry)
            and "sha256" not in entry.model_fields
        )

    return fits


def read_entry(
    registry: Registry[Any], foreign: type[AnyForeign], value: Any, context: Any = None
) -> Any:
    """Read the spec of an entry: ``name``, ``{name: fields}`` or ``{kind: name, ...fields}``.

    Args:
        registry: The registry of specs (classes derived from ``Frozen``).
        foreign: The class for the fields of an entry of a package or of the user.
        value: The raw value, or a spec, which is returned unchanged.
        context: The validation context with the folder of the spec's file.

    Returns:
        A shipped spec, or a ``foreign`` spec with the fields checked by the entry's own class. A
        stored spec, which has the hash of its code, is not checked if the code is missing.

    Raises:
        PydanticCustomError: If the name is unknown or its code cannot be imported.
        ValidationError: If a field is wrong; the first part of each location is the name.
    """
    if isinstance(value, foreign) or type(value) in registry.values():
        return value
    if not isinstance(value, str | dict):
        raise PydanticCustomError("entry", "give a name, or a mapping of a name to fields", {})
    kind, fields = _kind_and_fields(value, registry.one)
    if kind in registry:
        return _checked(registry[kind], kind, fields, context)
    stored = fields.pop("sha256", None)
    try:
        entry, sha256 = registry.find(kind), registry.code_hash(kind)
    except InputError as error:
        if stored is not None:
            return foreign.model_validate({"kind": kind, "sha256": stored, **fields})
        raise PydanticCustomError("entry", "{error}", {"error": str(error)}) from None
    content = _checked(entry, kind, fields, context).model_dump(mode="json")
    return foreign.model_validate({**content, "kind": kind, "sha256": sha256})


def _kind_and_fields(value: str | dict[Any, Any], one: str) -> tuple[str, dict[Any, Any]]:
    if isinstance(value, str):
        return value, {}
    if "kind" in value:
        return str(value["kind"]), {k: v for k, v in value.items() if k != "kind"}
    if len(value) != 1:
        raise PydanticCustomError(
            "entry",
            "a {one} is a mapping of a single name to fields, and this mapping has {count} names; "
            "write a list item per {one}",
            {"one": one, "count": len(value)},
        )
    kind, fields = next(iter(value.items()))
    if fields is not None and not isinstance(fields, dict):
        raise PydanticCustomError(
            "entry",
            "the fields of {one} '{kind}' are '{fields}'; give a mapping of fields to values",
            {"one": one, "kind": str(kind), "fields": str(fields)},
        )
    return str(kind), dict(fields or {})


def _checked(entry: type[Frozen], kind: str, fields: dict[Any, Any], context: Any) -> Frozen:
    """Return the fields as the entry's own object; begin the place of each error with the name."""
    try:
        return entry.model_validate({"kind": kind, **fields}, context=context)
    except ValidationError as error:
        lines = [again(item, kind) for item in error.errors(include_url=False)]
        raise ValidationError.from_exception_data(entry.__name__, lines) from None
