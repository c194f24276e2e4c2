"""The page of loops: rule, traits and fields of each."""

from typing import Any

from pages.fields import fields_table
from pages.markdown import text_of, wrapped
from segtransfer.tasks.attacks.loops.spec import LOOPS, LoopSpec

HEAD = """\
# Loops

`loop` in an [attack](spec.md#attackspec) replaces the sign steps between start and result. `steps`
counts the iterations of the loop.

```yaml
loop: {apgd: {track: cross-entropy, keep: fooled}}
```

- Every loop reads eps, norm, steps and restarts of the attack. A field that a loop does not read is
  refused.
- A gradient goes through all transforms of the attack and costs what a sign step costs.
- **Further gradients** of a run are those beyond its iterations; budgets and `plan` use them.
"""


def loops_page() -> str:
    """Return the page: a section per loop."""
    return "\n".join([HEAD, *(_section(name, spec) for name, spec in sorted(LOOPS.items()))])


def _section(name: str, spec: type[LoopSpec]) -> str:
    schema: dict[str, Any] = spec.model_json_schema()
    fields = {field: value for field, value in schema["properties"].items() if field != "kind"}
    made = spec.model_validate({"kind": name})
    facts = [
        f"gradients per step: {made.gradients_per_step:g}",
        f"further gradients: {made.extra_gradients:g}",
        f"reads: {', '.join(sorted(spec.reads)) or 'no optional field'}",
        f"norms: {', '.join(spec.norms)}",
    ]
    listed = fields_table(spec, {"properties": fields}, links=False) if fields else ""
    return f"## {name}\n\n{wrapped(text_of(spec))}\n\n{wrapped('; '.join(facts))}.\n\n{listed}"
