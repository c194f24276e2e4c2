"""Presets of sign steps along another loss: of pixels, and of features."""

from segtransfer.tasks.attacks.presets.preset import ITERATIVE, MOMENTUM, TENTHS, Preset, sea

_COSPGD = {"steps": 20, "step_size": 0.01, "start": "uniform"}
_SEA = {"steps": 300, **sea("cross-entropy")}

OTHER_LOSSES = {
    "segpgd": Preset(
        "as pgd with L = (1 - l) CE on right pixels + l CE on wrong pixels, l = (t - 1) / 2T",
        "Gu et al., ECCV 2022, eq. 4",
        ITERATIVE | {"loss": "segpgd"},
        paper=_COSPGD,
        in_paper="eps 0.03, 3 to 100 steps",
    ),
    "cospgd": Preset(
        "as pgd with L = mean of cos(softmax(z), onehot(y)) * CE, the weight detached",
        "Agnihotri et al., ICML 2024",
        ITERATIVE | {"loss": "cospgd"},
        paper=_COSPGD,
        in_paper="eps 0.03, 3 to 100 steps",
    ),
    "masked-ce": Preset(
        "as pgd with CE on pixels still right",
        "Croce et al., ECCV 2024 (SEA)",
        ITERATIVE | {"loss": "masked-cross-entropy"},
        paper=_SEA,
    ),
    "js": Preset(
        "as pgd with L = mean JS(softmax(z), onehot(y))",
        "Croce et al., ECCV 2024 (SEA)",
        ITERATIVE | {"loss": "js"},
        paper=_SEA,
    ),
    "mask-norm": Preset(
        "as pgd with L = -z_y / |z| on pixels still right",
        "Croce et al., ECCV 2024 (SEA)",
        ITERATIVE | {"loss": "mask-norm"},
        paper={"steps": 300, **sea("cosine")},
    ),
    "tsallis": Preset(
        "as pgd with L = (1 - p_y^(1 - q)) / (1 - q), p_y the label's probability, q = -2 + 3t / T",
        "Matyasko et al., arXiv 2605.03405 (TsallisPGD) and its code",
        ITERATIVE | {"loss": "tsallis"},
        paper={"steps": 10, "step_size": "eps/4", "start": "uniform"},
        in_paper="eps 8/255, also 300 steps of APGD",
    ),
    "uncertainty": Preset(
        "as pgd with L = mean of exp(H(p) / log K) * CE, H(p) the entropy of a pixel's softmax",
        "Maag and Fischer, WACV 2024 (L^E)",
        ITERATIVE | {"loss": "uncertainty"},
        paper={"steps": 10, "step_size": "1/255"},
        in_paper="eps 8/255, a step per 0.8 levels",
    ),
    "rp-region": Preset(
        "as pgd with L = (1 - t / 2T) CE_T + (t - 1) / 2T CE_B + 1 / 2T CE_F: pixels never wrong, "
        "wrong since a later step, wrong from the start",
        "Zhang et al., AAAI 2025: RP-PGD as its code has it, whose prototype part has no gradient",
        ITERATIVE | {"loss": "rp-region"},
        paper={"steps": 3, "step_size": "eps/3", "start": "uniform"},
        in_paper="eps 0.03",
    ),
    "fspgd": Preset(
        "as pgd with L = -(l cos(h(x_t), h(x)) + (1 - l) C / 2), h an intermediate layer, C the "
        "mean cosine of h(x_t) over positions alike in h(x) (cos > cos(pi/3)), l = t / T",
        "Park et al., arXiv 2502.01262",
        ITERATIVE | {"loss": "fspgd"},
        paper={"steps": 20, "step_size": 0.00226, "start": "uniform"},
        in_paper="eps 0.03, steps of 0.01 pixel deviations",
    ),
    "fia": Preset(
        "as mi with L = -mean(w h(x_t)), w the unit sum over 30 images x * M, M keeping 70 % of "
        "the values, of the gradient of the label's logit to the features h",
        "Wang et al., ICCV 2021",
        ITERATIVE | MOMENTUM | {"loss": "fia"},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "naa": Preset(
        "as fia with w of the label's probability at (1 - n/30) (x + N(0, 0.1^2)), n = 0 .. 29",
        "Zhang et al., CVPR 2022",
        ITERATIVE | MOMENTUM | {"loss": "naa"},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "ila": Preset(
        "pgd gives x'; then from x, as pgd with L = <h(x_t), d> / |d|^2, d = h(x') - h(x)",
        "Huang et al., ICCV 2019 (its projection loss)",
        ITERATIVE | {"loss": "ila"},
        paper={"steps": 10, "step_size": 0.00226},
        in_paper="eps 0.03, steps of 0.01 pixel deviations, 0.008 in the first attack",
    ),
    "dr": Preset(
        "as pgd with L = -std(h(x_t)), h an intermediate layer",
        "Lu et al., CVPR 2020",
        ITERATIVE | {"loss": "dr"},
        paper={"steps": 1000, "step_size": "1/255"},
        in_paper="eps 16/255",
    ),
}
