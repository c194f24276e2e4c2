"""The page of spec fields: experiments, searches, studies and search spaces."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pages.fields import Schema, fields_table
from pages.markdown import text_of, wrapped
from segtransfer.experiment.spec import Experiment
from segtransfer.search_spaces import Space
from segtransfer.searches.spec import Search
from segtransfer.studies.base import BaseExperiment
from segtransfer.tasks.schema import Frozen

FILES = {
    "Experiment": ("Files of `segtransfer run`, `plan` and `init`. ", Experiment),
    "Search": ("Files of `segtransfer search`. ", Search),
    "BaseExperiment": ("Files of `segtransfer study`. ", BaseExperiment),
    "Space": ("Files of `search.space`. ", Space),
}

HEAD = """\
# Spec fields

A spec is a YAML file. The sections [Experiment](#experiment), [Search](#search),
[BaseExperiment](#baseexperiment) and [Space](#space) are the four kinds of files. Every other
section is a part of them.

```yaml
data: {sample: camvid, images: 12}           # DataSpec
models: [fcn-r18, pspnet-r18]                # each a ModelSpec
attacks: [pgd, {preset: ds-mi, eps: 4/255}]  # each an AttackSpec
runtime: {executor: inline}                  # Runtime
```

- `segtransfer run mine.yaml data.images=4` changes a field by its path.
- A *number or fraction* may be written `0.03` or `8/255`. The unit *pixel range* is a share of
  [0, 1], so `8/255` is eight levels of an 8-bit image. The unit *eps* is a multiple of the attack's
  eps.
- A relative path starts at the folder of the spec's file, except the path of `runtime.store`, which
  starts at the working folder.
- A file may name a [base](command-line.md#specs-that-share-fields), whose fields it changes.
- `segtransfer schema` prints the same as a JSON schema, for [editors](command-line.md#editors).
"""


def spec_page() -> str:
    """Return the page: a section per class, files first, parts in the order of their first use."""
    schemas: dict[str, Schema] = {}
    for _, spec in FILES.values():
        schema = spec.model_json_schema()
        schemas |= {spec.__name__: schema, **schema.get("$defs", {})} | schemas
    fields = {name: _mapping(schema) for name, schema in schemas.items()}
    uses = _uses(fields)
    names = [*FILES, *(name for name in uses if name not in FILES)]
    sections = (_section(name, fields[name], uses.get(name, ())) for name in names)
    return "\n".join([HEAD, *sections])


def _section(name: str, schema: Schema, uses: Sequence[str]) -> str:
    spec = _classes()[name]
    place = FILES[name][0] if name in FILES else f"Used as {', '.join(uses)}.\n\n"
    return f"## {name}\n\n{wrapped(f'{place}{text_of(spec)}')}\n\n{fields_table(spec, schema)}"


def _uses(fields: dict[str, Schema]) -> dict[str, list[str]]:
    """Return the fields that hold each part, in the order of first use."""
    uses: dict[str, list[str]] = {}
    waiting = list(FILES)
    for name in waiting:
        for field, schema in fields[name]["properties"].items():
            for part in re.findall(r"#/\$defs/(\w+)", json.dumps(schema)):
                uses.setdefault(part, []).append(f"`{field}` of [{name}](#{name.lower()})")
                if part not in waiting:
                    waiting.append(part)
    return uses


def _mapping(schema: Schema) -> Schema:
    """Return the form of a spec that is a mapping of its fields, beside which short forms exist."""
    if "properties" in schema:
        return schema
    return next(_mapping(part) for part in schema["anyOf"] if "properties" in part)


def _classes() -> dict[str, type[Frozen]]:
    """Return every loaded class of a spec by name; the names are unique."""

    def derived(base: type[Frozen]) -> Iterator[Any]:
        for spec in base.__subclasses__():
            yield spec
            yield from derived(spec)

    return {spec.__name__: spec for spec in derived(Frozen)}
