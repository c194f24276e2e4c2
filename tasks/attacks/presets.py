"""Named attacks: fields of the attack spec, with formula and source."""

from dataclasses import dataclass, field
from typing import Any

from segtransfer.tasks.registry import Registry


@dataclass(frozen=True)
class Preset:
    """Fields of an ``AttackSpec`` under a name, with the rule in the papers' symbols.

    In the rules x is the clean image, x_t the iterate, a the step size, g = grad L(f(x_t), y), clip
    the projection onto the eps-ball around x and onto [0, 1]. eps and a are fractions of the pixel
    range [0, 1], r_t ratios of both sides, kernels are in pixels.

        # my_presets.py; in a spec: {preset: "my_presets:LONG", eps: 4/255}
        LONG = Preset("as mi, 100 steps", "ours", {"steps": 100, "momentum": {"mu": 1.0}})

    Attributes:
        formula: The rule, a line of text.
        source: The paper, a line of text.
        fields: Fields of an ``AttackSpec`` as YAML has them, without ``preset`` and ``name``. An
            attack may replace each.
    """

    formula: str
    source: str
    fields: dict[str, Any] = field(default_factory=dict)


_ITERATIVE = {"steps": 20, "step_size": "eps/4"}
_MOMENTUM = {"momentum": {"mu": 1.0}}
_NESTEROV = {"momentum": {"mu": 1.0, "nesterov": True}}
_DS = {"transforms": ["ds"]}


def _sea(loss: str, track: str = "cross-entropy") -> dict[str, Any]:
    """Return a member of SEA: the loss climbed, and the loss by which APGD halves its steps."""
    loop = {"apgd": {"track": track, "keep": "fooled", "shrinking": True}}
    return {"name": loss, "loss": loss, "start": "uniform", "loop": loop}


PRESETS: Registry[Preset] = Registry(
    "presets", (), lambda entry: isinstance(entry, Preset), "segtransfer.extend.Preset"
)

_BY_NAME = {
    "noise": Preset(
        "x' = clip(x + U(-eps, eps)): random noise, the baseline of a matrix; needs no source",
        "control",
        {"start": "uniform", "steps": 0, "step_size": 0.0},
    ),
    "fgsm": Preset(
        "x' = clip(x + eps * sign(grad L(f(x), y)))",
        "Goodfellow et al., ICLR 2015",
        {"steps": 1, "step_size": "eps"},
    ),
    "pgd": Preset(
        "x_{t+1} = clip(x_t + a * sign(g)); start: uniform for a random start",
        "Madry et al., ICLR 2018",
        _ITERATIVE,
    ),
    "mi": Preset(
        "m = mu * m + g / mean|g|, mu = 1; x_{t+1} = clip(x_t + a * sign(m))",
        "Dong et al., CVPR 2018",
        _ITERATIVE | _MOMENTUM,
    ),
    "ni": Preset(
        "as mi, the gradient taken at x_t + a * mu * m",
        "Lin et al., ICLR 2020",
        _ITERATIVE | _NESTEROV,
    ),
    "di": Preset(
        "as pgd on D(x_t): with probability 0.5 resized to U[1, 1.1), zero-padded to 1.1",
        "Xie et al., CVPR 2019, its 299 -> 330 as a ratio; labels follow",
        _ITERATIVE | {"transforms": ["di"]},
    ),
    "rdi": Preset(
        "as pgd on R(x_t): resized to U[1, 1.137), zero-padded to 1.137, resized back",
        "Zou et al., ECCV 2020, its 299 -> 340 as a ratio; labels follow",
        _ITERATIVE | {"transforms": ["rdi"]},
    ),
    "di-mi": Preset(
        "g as di; m = mu * m + g / mean|g|, mu = 1; x_{t+1} = clip(x_t + a * sign(m))",
        "Xie et al., CVPR 2019 (M-DI^2-FGSM)",
        _ITERATIVE | _MOMENTUM | {"transforms": ["di"]},
    ),
    "rdi-mi": Preset(
        "g as rdi; then as mi",
        "Zou et al., ECCV 2020, with momentum",
        _ITERATIVE | _MOMENTUM | {"transforms": ["rdi"]},
    ),
    "ti": Preset(
        "as pgd with W * g, W a Gaussian kernel of 15 pixels, three sigmas to its edge",
        "Dong et al., CVPR 2019",
        _ITERATIVE | {"smoothing": "ti"},
    ),
    "ti-mi": Preset(
        "W * g as ti; then as mi",
        "Dong et al., CVPR 2019, with momentum",
        _ITERATIVE | _MOMENTUM | {"smoothing": "ti"},
    ),
    "di-ti-mi": Preset(
        "g as di; W * g as ti; then as mi",
        "Dong et al., CVPR 2019 (TI-DIM)",
        _ITERATIVE | _MOMENTUM | {"transforms": ["di"], "smoothing": "ti"},
    ),
    "flip-mi": Preset(
        "as mi with g = grad L(f(F(x_t)), y), F a left-right mirror image with probability 0.5; "
        "labels follow",
        "control",
        _ITERATIVE | _MOMENTUM | {"transforms": ["flip"]},
    ),
    "si": Preset(
        "as mi with g = 1/m sum_{i<m} grad L(f(x_t / 2^i), y), m = 5: scales of intensity",
        "Lin et al., ICLR 2020",
        _ITERATIVE | _MOMENTUM | {"transforms": ["si"]},
    ),
    "si-random": Preset(
        "as mi with g = grad L(f(x_t / 2^i), y), a fresh i from 0 .. 4 per step",
        "ours, after si",
        _ITERATIVE | _MOMENTUM | {"transforms": [{"si": {"copies": 1, "law": "powers"}}]},
    ),
    "vt": Preset(
        "as mi with g + v; v = mean_{i<=N} grad L(f(x_t + U(-b eps, b eps)), y) - g, one step "
        "before, N = 20, b = 1.5",
        "Wang and He, CVPR 2021 (VMI)",
        _ITERATIVE | _MOMENTUM | {"variance": {}},
    ),
    "admix": Preset(
        "as mi with g = mean over 3 other images x' and 5 intensities of "
        "grad L(f((x_t + 0.2 x') / 2^i), y)",
        "Wang et al., ICCV 2021; x' from the same shard",
        _ITERATIVE | _MOMENTUM | {"transforms": ["admix", "si"]},
    ),
    "us-mm": Preset(
        "as mi with g = mean over 5 intensities s in [0.1, 0.75] and 3 other images x' for each of "
        "grad_z L(f(z), y) at z = clip(s x_t (0.5 + x'))",
        "Wang et al., arXiv 2311.12051; x' from the same shard",
        _ITERATIVE | _MOMENTUM | {"transforms": ["us-mm"]},
    ),
    "ssa": Preset(
        "as mi with g = mean_{20} grad_z L(f(z), y) at z = IDCT(DCT(x_t + N(0, (16/255)^2)) * "
        "U(0.5, 1.5))",
        "Long et al., ECCV 2022",
        _ITERATIVE | _MOMENTUM | {"transforms": [{"ssa": {"gradient": "at"}}]},
    ),
    "ssa-through": Preset(
        "as ssa with the gradient at x_t, through the mask",
        "ours, after ssa",
        _ITERATIVE | _MOMENTUM | {"transforms": ["ssa"]},
    ),
    "sia": Preset(
        "as mi with g = mean_{20} grad L(f(B(x_t)), y), B one of ten changes (shift, mirror, turn, "
        "resize, scale, noise, DCT, drop) per block of 3 x 3; labels follow",
        "Wang et al., ICCV 2023",
        _ITERATIVE | _MOMENTUM | {"transforms": ["sia"]},
    ),
    "bsr": Preset(
        "as mi with g = mean_{20} grad L(f(B(x_t)), y), B three shuffled strips, each turned by "
        "U(-24, 24) degrees and cut into three shuffled cells; labels follow",
        "Wang et al., CVPR 2024, as in TransferAttack",
        _ITERATIVE | _MOMENTUM | {"transforms": ["bsr"]},
    ),
    "segpgd": Preset(
        "as pgd with L = (1 - l) CE on right pixels + l CE on wrong pixels, l = (t - 1) / 2T",
        "Gu et al., ECCV 2022, eq. 4",
        _ITERATIVE | {"loss": "segpgd"},
    ),
    "cospgd": Preset(
        "as pgd with L = mean of cos(softmax(z), onehot(y)) * CE, the weight detached",
        "Agnihotri et al., ICML 2024",
        _ITERATIVE | {"loss": "cospgd"},
    ),
    "masked-ce": Preset(
        "as pgd with CE on pixels still right",
        "Croce et al., ECCV 2024 (SEA)",
        _ITERATIVE | {"loss": "masked-cross-entropy"},
    ),
    "js": Preset(
        "as pgd with L = mean JS(softmax(z), onehot(y))",
        "Croce et al., ECCV 2024 (SEA)",
        _ITERATIVE | {"loss": "js"},
    ),
    "mask-norm": Preset(
        "as pgd with L = -z_y / |z| on pixels still right",
        "Croce et al., ECCV 2024 (SEA)",
        _ITERATIVE | {"loss": "mask-norm"},
    ),
    "apgd": Preset(
        "z = P(x_t + a sign(g)), x_{t+1} = P(x_t + 0.75 (z - x_t) + 0.25 (x_t - x_{t-1})); a = 2 "
        "eps, halved at checkpoints where L stops to rise; the x_t of highest L",
        "Croce and Hein, ICML 2020",
        {"steps": 20, "loop": "apgd"},
    ),
    "sea": Preset(
        "per image the strongest on the source of four apgd, L = CE on right pixels, segpgd, js, "
        "mask-norm; 30 % of the steps at 2 eps, 30 % at 1.5 eps, then eps",
        "Croce et al., ECCV 2024 (SEA)",
        {
            "worst_of": [
                _sea("masked-cross-entropy"),
                _sea("segpgd"),
                _sea("js"),
                _sea("mask-norm", track="cosine"),
            ]
        },
    ),
    "padam-ce": Preset(
        "Adam (AMSGrad) on x' - x with learning rate a and L = CE, clipped after every step",
        "Halmosi et al., ECCV 2024",
        _ITERATIVE | {"loop": "padam"},
    ),
    "padam-cos": Preset(
        "as padam-ce with L = 1 - z_y / |z|, the cosine distance of logits and onehot(y)",
        "Halmosi et al., ECCV 2024",
        _ITERATIVE | {"loop": "padam", "loss": "cosine"},
    ),
    "fspgd": Preset(
        "as pgd with L = -(l cos(h(x_t), h(x)) + (1 - l) C / 2), h an intermediate layer, C the "
        "mean cosine of h(x_t) over positions alike in h(x) (cos > cos(pi/3)), l = t / T",
        "Park et al., arXiv 2502.01262",
        _ITERATIVE | {"loss": "fspgd"},
    ),
    "alma-prox": Preset(
        "the least |d|_inf with DLR <= 0 at 99 % of the pixels: d - a H^-1 grad P(w DLR, rho, mu), "
        "then the prox of a |d|_inf in RMSprop's metric H; eps is the largest norm",
        "Rony et al., CVPR 2023; schedule ours, theirs has 500 steps of 0.001",
        {"loop": "alma-prox", "eps": 1.0, "steps": 100, "step_size": 0.002},
    ),
    "dag": Preset(
        "x_{t+1} = clip(x_t + a g / max|g|), g = grad sum of max_{k != y} z_k - z_y over pixels "
        "not fooled yet, until 99 % are; eps is the largest norm",
        "Xie et al., ICCV 2017, as in Rony et al., CVPR 2023",
        {"loop": "dag", "eps": 1.0, "steps": 200, "step_size": "1/510"},
    ),
    "tsallis": Preset(
        "as pgd with L = (1 - p_y^(1 - q)) / (1 - q), p_y the label's probability, q = -2 + 3t / T",
        "Matyasko et al., arXiv 2605.03405 (TsallisPGD) and its code",
        _ITERATIVE | {"loss": "tsallis"},
    ),
    "uncertainty": Preset(
        "as pgd with L = mean of exp(H(p) / log K) * CE, H(p) the entropy of a pixel's softmax",
        "Maag and Fischer, WACV 2024 (L^E)",
        _ITERATIVE | {"loss": "uncertainty"},
    ),
    "rp-region": Preset(
        "as pgd with L = (1 - t / 2T) CE_T + (t - 1) / 2T CE_B + 1 / 2T CE_F: pixels never wrong, "
        "wrong since a later step, wrong from the start",
        "Zhang et al., AAAI 2025: RP-PGD as its code has it, whose prototype part has no gradient",
        _ITERATIVE | {"loss": "rp-region"},
    ),
    "fia": Preset(
        "as mi with L = -mean(w h(x_t)), w the unit sum over 30 images x * M, M keeping 70 % of "
        "the values, of the gradient of the label's logit to the features h",
        "Wang et al., ICCV 2021",
        _ITERATIVE | _MOMENTUM | {"loss": "fia"},
    ),
    "naa": Preset(
        "as fia with w of the label's probability at (1 - n/30) (x + N(0, 0.1^2)), n = 0 .. 29",
        "Zhang et al., CVPR 2022",
        _ITERATIVE | _MOMENTUM | {"loss": "naa"},
    ),
    "ila": Preset(
        "pgd gives x'; then from x, as pgd with L = <h(x_t), d> / |d|^2, d = h(x') - h(x)",
        "Huang et al., ICCV 2019 (its projection loss)",
        _ITERATIVE | {"loss": "ila"},
    ),
    "dr": Preset(
        "as pgd with L = -std(h(x_t)), h an intermediate layer",
        "Lu et al., CVPR 2020",
        _ITERATIVE | {"loss": "dr"},
    ),
    "cwa": Preset(
        "x' = clip(x_t - r sign(g)), r = eps / 15; per member k of an ensemble v = v + g_k(x') / "
        "|g_k(x')|_2, x' = clip(x' + 250 v); then as mi along x' - x_t",
        "Chen et al., ICLR 2024 (MI-CWA)",
        _ITERATIVE | _MOMENTUM | {"gradient": "cwa"},
    ),
    "svre": Preset(
        "x' = x_t, G = 0; 4 times per member of an ensemble, for a random member k: h = g_k(x') - "
        "(g_k(x_t) - g), G = G + h / mean|h|, x' = clip(x' + a sign(G)); then as mi along G",
        "Xiong et al., CVPR 2022 (SVRE-MI-FGSM)",
        _ITERATIVE | _MOMENTUM | {"gradient": "svre"},
    ),
    "adaea": Preset(
        "as mi, mu = 0.9, with g = grad L(sum_k w_k f_k(x_t), y), 0 at pixels whose members' "
        "gradients disagree; w = softmax_j(10 sum_{i != j} L_i(x_j) / L_i(x_i)), x_j a step of "
        "member j of an ensemble",
        "Chen et al., ICCV 2023 (AdaEA-MI-FGSM)",
        _ITERATIVE | {"momentum": {"mu": 0.9}, "gradient": "adaea"},
    ),
    "gra": Preset(
        "as mi with s g + (1 - s) h, h = mean_{20} grad L(f(x_t + U(-3.5 eps, 3.5 eps)), y), "
        "s = cos(g, h); a per value times 0.94 for each change of the sign of m",
        "Zhu et al., ICCV 2023",
        _ITERATIVE | _MOMENTUM | {"gradient": "gra"},
    ),
    "pgn": Preset(
        "as mi with mean_{20} (g + g') / 2, g at x' = x_t + U(-3 eps, 3 eps), g' at "
        "x' - a g / mean|g|",
        "Ge et al., NeurIPS 2023",
        _ITERATIVE | _MOMENTUM | {"gradient": "pgn"},
    ),
    "emi": Preset(
        "as mi with h_t = mean over 11 values c in [-7, 7] of grad L(f(x_t + c a h / mean|h|), y), "
        "h = h_{t-1}",
        "Wang et al., BMVC 2021 (EMI)",
        _ITERATIVE | _MOMENTUM | {"gradient": "emi"},
    ),
    "rap": Preset(
        "as mi with grad L(f(x_t + n), y), n = argmin_{|n| <= eps} L(f(x_t + n), y) by 8 sign "
        "steps from a random start; n = 0 in the first quarter of the steps",
        "Qin et al., NeurIPS 2022 (RAP-LS)",
        _ITERATIVE | _MOMENTUM | {"gradient": "rap"},
    ),
    "mumodig": Preset(
        "as mi with the sum over z = x_t and 6 random transforms z of x_t of "
        "(z - b) grad L(f(b + 0.65 (z - b)), y), b a two-level baseline below z",
        "Ren et al., AAAI 2025; labels follow",
        _ITERATIVE | _MOMENTUM | {"gradient": "mumodig"},
    ),
    "mef": Preset(
        "as mi, mu = 0.5, with mean_{20} g_i, g_i at x_t + U(-2 eps, 2 eps) + 0.15 eps d_i; "
        "d_i = g_i / mean|g_i| - 0.9 d_i",
        "Qiu et al., arXiv 2405.16181, as in its public code",
        _ITERATIVE | {"gradient": "mef", "momentum": {"mu": 0.5}},
    ),
    "anda": Preset(
        "as pgd with the mean of all gradients so far, of 5 x 5 shifts of x_t up to 0.15 of a side",
        "Fang et al., CVPR 2024; labels follow",
        _ITERATIVE | {"gradient": "anda"},
    ),
    "sgm": Preset(
        "as pgd, gradients through f of each block x + f(x) times 0.2",
        "Wu et al., ICLR 2020; needs a source with skips",
        _ITERATIVE | {"gradient": "sgm"},
    ),
    "ds": Preset(
        "r_t ~ U(low, low + width), low = 0.5, width = 1, a fresh r_t per step; S_r resizes both "
        "sides by r; g = grad L(f(S_{r_t}(x_t)), y), logits resized back to y; then as pgd",
        "Gu et al., arXiv 2111.11368, re-implemented from the abstract; constants ours",
        _ITERATIVE | _DS,
    ),
    "ds-mi": Preset(
        "g as ds; m = mu * m + g / mean|g|, mu = 1; x_{t+1} = clip(x_t + a * sign(m))",
        "ours",
        _ITERATIVE | _DS | _MOMENTUM,
    ),
    "ds-ti": Preset(
        "g as ds; W * g as ti, 15 pixels; then as pgd",
        "ours",
        _ITERATIVE | _DS | {"smoothing": "ti"},
    ),
    "ds-ni": Preset(
        "as ds-mi, g taken at x_t + a * mu * m, mu = 1", "ours", _ITERATIVE | _DS | _NESTEROV
    ),
    "ds-vt": Preset(
        "as ds-mi with g + v; v as vt, N = 20, b = 1.5, a step's neighbours seen at its r_t",
        "ours",
        _ITERATIVE | _DS | _MOMENTUM | {"variance": {}},
    ),
    "ds-flip-mi": Preset(
        "g as ds of the image or, with probability 0.5, of its mirror image; then as mi",
        "ours",
        _ITERATIVE | _MOMENTUM | {"transforms": ["ds", "flip"]},
    ),
    "ds-si-mi": Preset(
        "g as ds of x_t / 2^i, a fresh i from 0 .. 4 per step; then as mi",
        "ours",
        _ITERATIVE | _MOMENTUM | {"transforms": ["ds", {"si": {"copies": 1, "law": "powers"}}]},
    ),
    "ds-tuned": Preset(
        "ds-mi with r_t from 8 levels in [0.518, 1.007], mu = 0.68, W * g as ti with 5 pixels",
        "ours, found by `segtransfer search zoo` (search_spaces/README.md), three digits kept",
        _ITERATIVE
        | {
            "transforms": [{"ds": {"low": 0.518, "width": 0.489, "law": "discrete", "levels": 8}}],
            "momentum": {"mu": 0.68},
            "smoothing": {"ti": {"kernel": 5}},
        },
    ),
}

for _name, _preset in _BY_NAME.items():
    PRESETS.add(_name)(_preset)
