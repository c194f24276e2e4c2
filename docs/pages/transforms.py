"""The page of transforms: rule, traits and fields of each."""

from typing import Any

from pages.fields import fields_table
from pages.markdown import text_of, wrapped
from segtransfer.tasks.attacks.transforms import TRANSFORMS, TransformSpec

HEAD = """\
# Transforms

`transforms: [...]` in an [attack](spec.md#attackspec) is a chain of input transforms, applied to
the iterate before the model sees it, in the order of the list. Gradients flow back through them.

```yaml
transforms: [ds, {di: {probability: 0.7}}]
```

- If a transform moves content, labels or logits follow: `label_version` of the attack.
- Random numbers are drawn from (seed, schedule group, step), never from a global generator.
- **Forwards per step** multiply along a chain. **Area** is the mean area of the
  images for the model, relative to the native area, with the default fields.
- [Add a transform](../how-to/transform.md).
"""


def transforms_page() -> str:
    """Return the page: a section per transform."""
    return "\n".join([HEAD, *(_section(name, spec) for name, spec in sorted(TRANSFORMS.items()))])


def _section(name: str, spec: type[TransformSpec]) -> str:
    schema: dict[str, Any] = spec.model_json_schema()
    fields = {field: value for field, value in schema["properties"].items() if field != "kind"}
    made = spec.model_validate({"kind": name})
    facts = [
        f"forwards per step: {made.views_per_step}",
        f"area: {made.relative_cost:.3g}",
        "random" if made.draws else "the same at every step",
        *(["moves content"] if spec.moves else []),
        *(["mixes images, so it precedes moving transforms"] if spec.mixes else []),
    ]
    listed = fields_table(spec, {"properties": fields}, links=False) if fields else ""
    return f"## {name}\n\n{wrapped(text_of(spec))}\n\n{wrapped('; '.join(facts))}.\n\n{listed}"
