"""The page of gradient rules: rule, traits and fields of each."""

from typing import Any

from pages.fields import fields_table
from pages.markdown import text_of, wrapped
from segtransfer.tasks.attacks.gradient_rules.base import GRADIENTS, GradientRule

HEAD = """\
# Gradient rules

`gradient` in an [attack](spec.md#attackspec) is a rule whose gradient takes the place of the loss's
gradient in every step. Smoothing, momentum and the step follow as without a rule.

```yaml
gradient: {pgn: {samples: 10}}
```

- A rule asks for the gradient of the loss at points of its own choice. Each is taken through all
  transforms of the attack, at the scales of the step, and costs what a step without a rule costs.
- **Gradients per step** is their number with the default fields; budgets and `plan` use it.
- A rule excludes `variance`, which tunes the gradient of the loss.
- [Add a gradient rule](../how-to/gradient-rule.md).
"""


def gradients_page() -> str:
    """Return the page: a section per rule."""
    return "\n".join([HEAD, *(_section(name, spec) for name, spec in sorted(GRADIENTS.items()))])


def _section(name: str, spec: type[GradientRule]) -> str:
    schema: dict[str, Any] = spec.model_json_schema()
    fields = {field: value for field, value in schema["properties"].items() if field != "kind"}
    made = spec.model_validate({"kind": name})
    facts = [
        f"gradients per step: {made.gradients_per_step:.3g}",
        "random" if spec.draws else "without random numbers",
    ]
    listed = fields_table(spec, {"properties": fields}, links=False) if fields else ""
    return f"## {name}\n\n{wrapped(text_of(spec))}\n\n{wrapped('; '.join(facts))}.\n\n{listed}"
