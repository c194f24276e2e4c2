"""Presets of input transforms: diversity, intensity, other images, frequencies, blocks."""

from segtransfer.tasks.attacks.presets.preset import ITERATIVE, MOMENTUM, TENTHS, Preset

_DI = {"steps": 20, "step_size": "1/255"}

VIEWS = {
    "di": Preset(
        "as pgd on D(x_t): with probability 0.5 resized to U[1, 1.1), zero-padded to 1.1",
        "Xie et al., CVPR 2019, its 299 -> 330 as a ratio",
        ITERATIVE | {"transforms": ["di"]},
        paper=_DI,
        in_paper="eps 16/255, a step per 0.8 levels",
    ),
    "rdi": Preset(
        "as pgd on R(x_t): resized to U[1, 1.137), zero-padded to 1.137, resized back",
        "Zou et al., ECCV 2020; 340/299 as in later code, theirs pads to 500, with TI and momentum",
        ITERATIVE | {"transforms": ["rdi"]},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "di-mi": Preset(
        "g as di; m = mu * m + g / mean|g|, mu = 1; x_{t+1} = clip(x_t + a * sign(m))",
        "Xie et al., CVPR 2019 (M-DI^2-FGSM)",
        ITERATIVE | MOMENTUM | {"transforms": ["di"]},
        paper=_DI,
        in_paper="eps 16/255, a step per 0.8 levels",
    ),
    "rdi-mi": Preset(
        "g as rdi; then as mi",
        "as rdi, with momentum",
        ITERATIVE | MOMENTUM | {"transforms": ["rdi"]},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "di-ti-mi": Preset(
        "g as di; W * g as ti; then as mi",
        "Dong et al., CVPR 2019 (TI-DIM)",
        ITERATIVE | MOMENTUM | {"transforms": ["di"], "smoothing": "ti"},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "flip-mi": Preset(
        "as mi with g = grad L(f(F(x_t)), y), F a left-right mirror image with probability 0.5; "
        "labels follow",
        "control",
        ITERATIVE | MOMENTUM | {"transforms": ["flip"]},
        paper={},
    ),
    "si": Preset(
        "as mi with g = 1/m sum_{i<m} grad L(f(x_t / 2^i), y), m = 5: scales of intensity",
        "Lin et al., ICLR 2020",
        ITERATIVE | MOMENTUM | {"transforms": ["si"]},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "si-random": Preset(
        "as mi with g = grad L(f(x_t / 2^i), y), a fresh i from 0 .. 4 per step",
        "ours, after si",
        ITERATIVE | MOMENTUM | {"transforms": [{"si": {"copies": 1, "law": "powers"}}]},
        paper={},
    ),
    "admix": Preset(
        "as mi with g = mean over 3 other images x' and 5 intensities of "
        "grad L(f((x_t + 0.2 x') / 2^i), y)",
        "Wang et al., ICCV 2021; x' from the same shard",
        ITERATIVE | MOMENTUM | {"transforms": ["admix", "si"]},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "us-mm": Preset(
        "as mi with g = mean over 5 intensities s in [0.1, 0.75] and 3 other images x' for each of "
        "grad_z L(f(z), y) at z = clip(s x_t (0.5 + x'))",
        "Wang et al., arXiv 2311.12051; x' from the same shard",
        ITERATIVE | MOMENTUM | {"transforms": ["us-mm"]},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "ssa": Preset(
        "as mi with g = mean_{20} grad_z L(f(z), y) at z = IDCT(DCT(x_t + N(0, (16/255)^2)) * "
        "U(0.5, 1.5))",
        "Long et al., ECCV 2022, with momentum as in TransferAttack",
        ITERATIVE | MOMENTUM | {"transforms": [{"ssa": {"gradient": "at"}}]},
        paper=TENTHS | {"momentum": None},
        in_paper="eps 16/255",
    ),
    "ssa-through": Preset(
        "as ssa with the gradient at x_t, through the mask",
        "ours, after ssa",
        ITERATIVE | MOMENTUM | {"transforms": ["ssa"]},
        paper={},
    ),
    "sia": Preset(
        "as mi with g = mean_{20} grad L(f(B(x_t)), y), B one of ten changes (shift, mirror, turn, "
        "resize, scale, noise, DCT, drop) per block of 3 x 3; labels follow",
        "Wang et al., ICCV 2023, with momentum as in TransferAttack",
        ITERATIVE | MOMENTUM | {"transforms": ["sia"]},
        paper=TENTHS | {"momentum": None},
        in_paper="eps 16/255",
    ),
    "bsr": Preset(
        "as mi with g = mean_{20} grad L(f(B(x_t)), y), B three shuffled strips, each turned by "
        "U(-24, 24) degrees and cut into three shuffled cells; labels follow",
        "Wang et al., CVPR 2024, as in TransferAttack",
        ITERATIVE | MOMENTUM | {"transforms": ["bsr"]},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
}
