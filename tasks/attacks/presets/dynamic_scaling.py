"""Presets of dynamic scaling, alone and with other parts."""

from segtransfer.tasks.attacks.presets.preset import ITERATIVE, MOMENTUM, NESTEROV, Preset

_DS = {"transforms": ["ds"]}
DYNAMIC_SCALING = {
    "ds": Preset(
        "r_t ~ U(low, low + width), low = 0.5, width = 1, a fresh r_t per step; S_r resizes both "
        "sides by r; g = grad L(f(S_{r_t}(x_t)), y), logits resized back to y; then as pgd",
        "Gu et al., arXiv 2111.11368, re-implemented from the abstract; constants ours",
        ITERATIVE | _DS,
    ),
    "ds-mi": Preset(
        "g as ds; m = mu * m + g / mean|g|, mu = 1; x_{t+1} = clip(x_t + a * sign(m))",
        "ours",
        ITERATIVE | _DS | MOMENTUM,
        paper={},
    ),
    "ds-ti": Preset(
        "g as ds; W * g as ti, 15 pixels; then as pgd",
        "ours",
        ITERATIVE | _DS | {"smoothing": "ti"},
        paper={},
    ),
    "ds-ni": Preset(
        "as ds-mi, g taken at x_t + a * mu * m, mu = 1",
        "ours",
        ITERATIVE | _DS | NESTEROV,
        paper={},
    ),
    "ds-vt": Preset(
        "as ds-mi with g + v; v as vt, N = 20, b = 1.5, a step's neighbours seen at its r_t",
        "ours",
        ITERATIVE | _DS | MOMENTUM | {"variance": {}},
        paper={},
    ),
    "ds-flip-mi": Preset(
        "g as ds of the image or, with probability 0.5, of its mirror image; then as mi",
        "ours",
        ITERATIVE | MOMENTUM | {"transforms": ["ds", "flip"]},
        paper={},
    ),
    "ds-si-mi": Preset(
        "g as ds of x_t / 2^i, a fresh i from 0 .. 4 per step; then as mi",
        "ours",
        ITERATIVE | MOMENTUM | {"transforms": ["ds", {"si": {"copies": 1, "law": "powers"}}]},
        paper={},
    ),
    "ds-tuned": Preset(
        "ds-mi with r_t from 8 levels in [0.518, 1.007], mu = 0.68, W * g as ti with 5 pixels",
        "ours, found by `segtransfer search zoo` (search_spaces/README.md), three digits kept",
        ITERATIVE
        | {
            "transforms": [{"ds": {"low": 0.518, "width": 0.489, "law": "discrete", "levels": 8}}],
            "momentum": {"mu": 0.68},
            "smoothing": {"ti": {"kernel": 5}},
        },
        paper={},
    ),
    "best-transfer": Preset(
        "g as ds, r_t ~ U(0.623, 1.288), then di to 1.05 with probability 0.296, of x_t / 2^i, a "
        "fresh i from 0 .. 4 per step; then as mi, mu = 0.855",
        "ours, found by `segtransfer search best-transfer` (search_spaces/README.md), three digits",
        ITERATIVE
        | {
            "transforms": [
                {"ds": {"low": 0.623, "width": 0.665}},
                {"di": {"high": 1.05, "probability": 0.296}},
                {"si": {"copies": 1, "law": "powers"}},
            ],
            "momentum": {"mu": 0.855},
        },
        paper={},
    ),
}
