"""Presets of other loops: strong white boxes, and the smallest norm."""

from typing import Any

from segtransfer.tasks.attacks.presets.preset import ITERATIVE, Preset, sea

_PADAM = {"steps": 200, "step_size": "2/255", "start": "uniform"}


def _members(**steps: int) -> list[dict[str, Any]]:
    """Return the four attacks of SEA, by the loss climbed."""
    tracked = {
        "masked-cross-entropy": "cross-entropy",
        "segpgd": "cross-entropy",
        "js": "cross-entropy",
        "mask-norm": "cosine",
    }
    return [{"name": loss, "loss": loss, **sea(track), **steps} for loss, track in tracked.items()]


OTHER_LOOPS = {
    "apgd": Preset(
        "z = P(x_t + a sign(g)), x_{t+1} = P(x_t + 0.75 (z - x_t) + 0.25 (x_t - x_{t-1})); a = 2 "
        "eps, halved at checkpoints where L stops to rise; the x_t of highest L",
        "Croce and Hein, ICML 2020",
        {"steps": 20, "loop": "apgd"},
        paper={"steps": 100, "start": "uniform"},
        in_paper="eps 0.3 (MNIST), 5 restarts",
    ),
    "sea": Preset(
        "per image the strongest on the source of four apgd, L = CE on right pixels, segpgd, js, "
        "mask-norm; 30 % of the steps at 2 eps, 30 % at 1.5 eps, then eps",
        "Croce et al., ECCV 2024 (SEA)",
        {"worst_of": _members()},
        paper={"worst_of": _members(steps=300)},
        in_paper="eps 4/255 and 8/255",
    ),
    "padam-ce": Preset(
        "Adam (AMSGrad) on x' - x with learning rate a and L = CE, clipped after every step",
        "Halmosi et al., ECCV 2024",
        ITERATIVE | {"loop": "padam"},
        paper=_PADAM,
        in_paper="eps 8/255",
    ),
    "padam-cos": Preset(
        "as padam-ce with L = 1 - z_y / |z|, the cosine distance of logits and onehot(y)",
        "Halmosi et al., ECCV 2024",
        ITERATIVE | {"loop": "padam", "loss": "cosine"},
        paper=_PADAM,
        in_paper="eps 8/255",
    ),
    "alma-prox": Preset(
        "the least |d|_inf with DLR <= 0 at 99 % of the pixels: d - a H^-1 grad P(w DLR, rho, mu), "
        "then the prox of a |d|_inf in RMSprop's metric H; eps is the largest norm",
        "Rony et al., CVPR 2023",
        {"loop": "alma-prox", "eps": 1.0, "steps": 100, "step_size": 0.002},
        paper={"steps": 500, "step_size": 0.001},
    ),
    "dag": Preset(
        "x_{t+1} = clip(x_t + a g / max|g|), g = grad sum of max_{k != y} z_k - z_y over pixels "
        "not fooled yet, until 99 % are; eps is the largest norm",
        "Xie et al., ICCV 2017, the rule as in Rony et al., CVPR 2023",
        {"loop": "dag", "eps": 1.0, "steps": 200, "step_size": "1/510"},
        paper={},
    ),
}
