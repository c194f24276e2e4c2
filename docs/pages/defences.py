"""The page of defences: rule, gradient and fields of each."""

from typing import Any

from pages.fields import fields_table
from pages.markdown import text_of, wrapped
from segtransfer.tasks.models.defences import DEFENCES
from segtransfer.tasks.models.defences.base import DefenceSpec

HEAD = """\
# Defences

`defences: [...]` in a [model](spec.md#modelspec) is a chain of defences at inference. The first
acts on the image first. [How to defend a target](../how-to/defences.md) has examples.

```yaml
models:
  - {name: defended, zoo: fcn-r18, defences: [{jpeg: {quality: 75}}, {bits: 4}, flip]}
```

- A chain is around the network in its windows and scale, and inside its label map. Logits return to
  the image's own grid.
- The logits of an image depend neither on its batch nor on a random generator.
- Fields and a version number of each defence are part of the model's fingerprint.
- **Gradient.** Of a defended source: `exact`, or `straight-through` for a step without a gradient.
- `{bits: 4}` is short for `{bits: {bits: 4}}`, likewise for each field marked **short**.
"""


def defences_page() -> str:
    """Return the page: a section per defence."""
    return "\n".join([HEAD, *(_section(name, spec) for name, spec in sorted(DEFENCES.items()))])


def _section(name: str, spec: type[DefenceSpec]) -> str:
    schema: dict[str, Any] = spec.model_json_schema()
    fields = {field: value for field, value in schema["properties"].items() if field != "kind"}
    facts = [f"gradient: {'exact' if spec.exact_gradient else 'straight-through'}"]
    facts += [f"short: `{spec.short}`"] if spec.short else []
    facts += [f"version: {spec.version}"]
    listed = fields_table(spec, {"properties": fields}, links=False) if fields else ""
    text = f"## {name}\n\n{wrapped(text_of(spec))}\n\n{wrapped('; '.join(facts))}.\n"
    return f"{text}\n{listed}" if listed else text
