"""The page of losses: rule and source of each."""

from pages.markdown import text_of, wrapped
from segtransfer.tasks.attacks.losses import LOSSES, READS_FEATURES

HEAD = """\
# Losses

`loss: NAME` in an [attack](spec.md#attackspec) chooses the loss. The attack maximises the loss, or
minimises the distance to the labels of a target.

- A loss gets logits z (float, N x K x H x W), labels y (int64, N x H x W, 255 for pixels without a
  class) and a [`LossContext`](extend.md#losscontext) with step t and number of steps T. It returns
  N numbers.
- [Add a loss](../how-to/loss.md).
"""
FEATURES = """\
The loss reads features of an intermediate layer (`layer` of the attack) in the place of logits
and labels."""


def losses_page() -> str:
    """Return the page: a section per loss."""
    sections = [HEAD]
    for name, loss in LOSSES.items():
        more = f"\n\n{FEATURES}" if hasattr(loss, READS_FEATURES) else ""
        sections.append(f"## {name}\n\n{wrapped(text_of(loss) + more)}\n")
    return "\n".join(sections)
