"""The page of presets: rule, source, cost and fields of each."""

import json

from pages.markdown import code, table
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.schema import strength_text

HEAD = """\
# Presets

A preset is a named set of fields of an [attack](spec.md#attackspec). A spec names a preset and may
change every field:

```yaml
attacks:
  - pgd
  - {preset: ds-mi, eps: 4/255, steps: 10}
  - {preset: mi, name: mi-20, budget: {forward_equivalents: 20}}
```

- **Rule**: x is the clean image, x_t the iterate, a the step size, g = grad L(f(x_t), y), clip the
  projection onto the eps-ball around x and onto [0, 1].
- **Units**: eps and a are fractions of the pixel range [0, 1]. r_t multiplies both sides of an
  image. Kernels are in pixels.
- **Cost**: mean image forwards per step at the image's native size, each with its backward. A
  `budget` equalises the cost of attacks.
- The table lists shipped presets; `segtransfer attacks` adds those of installed packages.
  [Add a preset](../how-to/preset.md).

"""


def presets_page() -> str:
    """Return the page: the rules in a table, then the fields."""
    rules, fields = [], []
    for name, preset in PRESETS.items():
        spec = AttackSpec.model_validate({"preset": name})
        cost = f"{spec.step_cost:.3g}" if spec.steps else "–"
        rules.append([code(name), code(preset.formula), preset.source, str(spec.steps), cost])
        sizes = f"{strength_text(spec.step_size)}"
        changed = json.dumps(preset.fields).replace('"', "") if preset.fields else ""
        fields.append([code(name), code(changed), sizes])
    heads = ["preset", "rule", "source", "steps", "forwards per step"]
    return (
        HEAD
        + table(heads, rules)
        + "\n## Fields\n\nThe last column is the value of `step_size` at the default "
        "eps of 8/255.\n\n" + table(["preset", "fields", "step size"], fields)
    )
