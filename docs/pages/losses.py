"""The page of losses: rule and source of each."""

from pages.markdown import text_of, wrapped
from segtransfer.tasks.attacks.losses import LOSSES, PREPARED_BY, READS_FEATURES

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
PREPARED = """\
Before the first step of each restart, its preparation costs {forwards} forwards per image. A step's
cost in plans holds its share."""


LEFT_OUT = """\
## Rules left out

A rule is left out if neither its paper nor its authors' code could be read in full. No loss here
approximates any of these:

- **TranSegPGD** (Jia et al., arXiv 2312.02207): only the abstract was available.
- **SegTrans** (Song et al., arXiv 2510.08922): only the abstract was available.
- **EroSeg** (Song et al., arXiv 2601.14950): only the abstract was available.
- **The prototype loss of RP-PGD**: the paper was not available, and in the authors' code the loss
  has no gradient. `rp-region` is the other part.

These were read, and are no function of one layer's features, or of logits and labels alone:

- **CR-PGD** (Qu et al., 2023) weighs pixels by a certified radius from noisy forwards.
- **The patch loss of Nesti et al.** (WACV 2022): its code normalises the gradients of right and
  wrong pixels separately.
- **FDA** (Ganeshan et al., ICCV 2019) reads all layers at once.
"""


def losses_page() -> str:
    """Return the page: a section per loss."""
    sections = [HEAD]
    for name, loss in sorted(LOSSES.items()):
        more = f"\n\n{FEATURES}" if hasattr(loss, READS_FEATURES) else ""
        prepared = getattr(loss, PREPARED_BY, None)
        if prepared is not None:
            more += f"\n\n{PREPARED.format(forwards=prepared.forwards)}"
        sections.append(f"## {name}\n\n{wrapped(text_of(loss) + more)}\n")
    return "\n".join([*sections, LEFT_OUT])
