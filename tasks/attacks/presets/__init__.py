"""Named attacks: the registry of presets, filled by family."""

from segtransfer.tasks.attacks.presets.dynamic_scaling import DYNAMIC_SCALING
from segtransfer.tasks.attacks.presets.gradient_rules import OTHER_GRADIENTS
from segtransfer.tasks.attacks.presets.loops import OTHER_LOOPS
from segtransfer.tasks.attacks.presets.losses import OTHER_LOSSES
from segtransfer.tasks.attacks.presets.preset import Preset
from segtransfer.tasks.attacks.presets.sign_steps import SIGN_STEPS
from segtransfer.tasks.attacks.presets.transforms import VIEWS
from segtransfer.tasks.registry import Registry

# Families by their title in tables, in the order of tables.
FAMILIES = {
    "Sign steps": SIGN_STEPS,
    "Input transforms": VIEWS,
    "Losses": OTHER_LOSSES,
    "Gradient rules": OTHER_GRADIENTS,
    "Loops": OTHER_LOOPS,
    "Dynamic scaling": DYNAMIC_SCALING,
}

PRESETS: Registry[Preset] = Registry(
    "presets", (), lambda entry: isinstance(entry, Preset), "segtransfer.extend.Preset"
)
for _family in FAMILIES.values():
    for _name, _preset in _family.items():
        PRESETS.add(_name)(_preset)
