"""Presets of sign steps: the plain gradient, momentum, variance tuning, a smoothed gradient."""

from segtransfer.tasks.attacks.presets.preset import ITERATIVE, MOMENTUM, NESTEROV, TENTHS, Preset

SIGN_STEPS = {
    "noise": Preset(
        "x' = clip(x + U(-eps, eps)): random noise, the baseline of a matrix; needs no source",
        "control",
        {"start": "uniform", "steps": 0, "step_size": 0.0},
        paper={},
    ),
    "fgsm": Preset(
        "x' = clip(x + eps * sign(grad L(f(x), y)))",
        "Goodfellow et al., ICLR 2015",
        {"steps": 1, "step_size": "eps"},
        paper={},
    ),
    "pgd": Preset(
        "x_{t+1} = clip(x_t + a * sign(g)); start: uniform for a random start",
        "Madry et al., ICLR 2018",
        ITERATIVE,
        paper={"steps": 10, "step_size": "eps/4", "start": "uniform"},
        in_paper="eps 8/255 (CIFAR-10)",
    ),
    "mi": Preset(
        "m = mu * m + g / mean|g|, mu = 1; x_{t+1} = clip(x_t + a * sign(m))",
        "Dong et al., CVPR 2018",
        ITERATIVE | MOMENTUM,
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "ni": Preset(
        "as mi, the gradient taken at x_t + a * mu * m",
        "Lin et al., ICLR 2020",
        ITERATIVE | NESTEROV,
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "vt": Preset(
        "as mi with g + v; v = mean_{i<=N} grad L(f(x_t + U(-b eps, b eps)), y) - g, one step "
        "before, N = 20, b = 1.5",
        "Wang and He, CVPR 2021 (VMI)",
        ITERATIVE | MOMENTUM | {"variance": {}},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "ti": Preset(
        "as pgd with W * g, W a Gaussian kernel of 15 pixels, three sigmas to its edge",
        "Dong et al., CVPR 2019",
        ITERATIVE | {"smoothing": "ti"},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "ti-mi": Preset(
        "W * g as ti; then as mi",
        "Dong et al., CVPR 2019, with momentum",
        ITERATIVE | MOMENTUM | {"smoothing": "ti"},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
}
