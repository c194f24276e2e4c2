"""The page of attacks: rule, source, schedules, cost, labels and oracle of each preset."""

from pages.markdown import code, table, wrapped
from pages.oracles import ON_NETWORKS, ORACLES
from segtransfer.reporting.attacks import preset_facts
from segtransfer.tasks.attacks.presets import FAMILIES, PRESETS

HEAD = """\
# Attacks

A preset is a named set of fields of an [attack](spec.md#attackspec). A spec names a preset and may
change every field:

```yaml
attacks:
  - pgd
  - {preset: ds-mi, eps: 4/255, steps: 10}
  - {preset: mi, name: mi-20, budget: {forward_equivalents: 20}}
  - {preset: mi, name: mi-paper, schedule: paper}
```

- **Rule**: x is the clean image, x_t the iterate, a the step size, g = grad L(f(x_t), y), clip the
  projection onto the eps-ball around x and onto [0, 1].
- **Units**: eps and a are fractions of the pixel range [0, 1]. r_t multiplies both sides of an
  image. Kernels are in pixels.
- **Schedule**: by default a schedule of *ours*, 20 steps of eps/4 from the clean image: rules
  are compared, not schedules. `schedule: paper` has the steps, step size, start and
  momentum of the source. Fields beside `preset` replace those of both. The eps of the source is
  told, and not set.
- **Cost**: mean image forwards per step at the image's native size, each with its backward. A
  `budget` equalises the cost of attacks, and replaces the steps of both schedules.
- **Labels**: how the labels follow the images seen by the source. `label_version` of the attack
  chooses between mapping logits back and mapping labels.
- **Oracle**: what the rule was compared with, a file below `tests/tasks/attacks`, and code of
  others outside this repository. Shares are of equal 8-bit values or of equal signs of steps;
  rounding of convolutions is amplified at ReLUs, so networks with ReLUs agree less. "On
  segformer-mit and pspnet-r18 too" is the slow `test_oracle_networks.py`, after four steps: more
  than 99.9 % of the values are equal in double precision, more than 99 % for losses on features
  and 95 % for smallest norms, which compute in single precision.

`segtransfer attacks NAME` prints one preset, and a list of presets with a part of their name, rule
or source; presets of installed packages are listed too. [Add a preset](../how-to/preset.md).

"""


def attacks_page() -> str:
    """Return the page: a table, then a section per family with its presets."""
    rules = [name for name in PRESETS if name in ORACLES]
    count = (
        f"The {len(PRESETS)} presets are {len(rules)} distinct rules and "
        f"{len(PRESETS) - len(rules)} combinations of them, compared through their parts.\n"
    )
    rows = []
    for name, preset in PRESETS.items():
        cost = dict(preset_facts(name))["cost"].partition(" forward")[0]
        rows.append([f"[{name}](#{name})", preset.source, cost, "rule" if name in rules else ""])
    summary = table(["preset", "source", "forwards per step", "rule of its own"], rows)
    sections = [
        f"## {title}\n\n" + "\n".join(map(_section, family)) for title, family in FAMILIES.items()
    ]
    return HEAD + wrapped(count, 100) + "\n" + summary + "\n" + "\n".join(sections)


def _section(name: str) -> str:
    """Return the section of a preset."""
    facts = dict(preset_facts(name))
    del facts["in a spec"]
    rule = "\n".join(_lines(facts.pop("rule")))
    told = [
        f"- **{head.capitalize()}**: {code(text) if text.startswith('{') else text}."
        for head, text in facts.items()
    ]
    if oracle := ORACLES.get(name):
        outside = f"; outside the tree, {oracle.outside}" if oracle.outside else ""
        both = "; on segformer-mit and pspnet-r18 too" if name in ON_NETWORKS else ""
        told.append(f"- **Oracle**: {oracle.test}{both}{outside}.")
    points = "\n".join(wrapped(point, 118).replace("\n", "\n  ") for point in told)
    return f"### {name}\n\n```text\n{rule}\n```\n\n{points}\n"


def _lines(text: str, width: int = 100) -> list[str]:
    """Return a text in lines of at most ``width`` characters."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
