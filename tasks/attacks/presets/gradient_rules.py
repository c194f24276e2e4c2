"""Presets of rules in place of the gradient, for single sources and for ensembles."""

from segtransfer.tasks.attacks.presets.preset import ITERATIVE, MOMENTUM, TENTHS, Preset

OTHER_GRADIENTS = {
    "gra": Preset(
        "as mi with s g + (1 - s) h, h = mean_{20} grad L(f(x_t + U(-3.5 eps, 3.5 eps)), y), "
        "s = cos(g, h); a per value times 0.94 for each change of the sign of m",
        "Zhu et al., ICCV 2023",
        ITERATIVE | MOMENTUM | {"gradient": "gra"},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "pgn": Preset(
        "as mi with mean_{20} (g + g') / 2, g at x' = x_t + U(-3 eps, 3 eps), g' at "
        "x' - a g / mean|g|",
        "Ge et al., NeurIPS 2023",
        ITERATIVE | MOMENTUM | {"gradient": "pgn"},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "emi": Preset(
        "as mi with h_t = mean over 11 values c in [-7, 7] of grad L(f(x_t + c a h / mean|h|), y), "
        "h = h_{t-1}",
        "Wang et al., BMVC 2021 (EMI)",
        ITERATIVE | MOMENTUM | {"gradient": "emi"},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "rap": Preset(
        "as mi with grad L(f(x_t + n), y), n = argmin_{|n| <= eps} L(f(x_t + n), y) by 8 sign "
        "steps from a random start; n = 0 in the first quarter of the steps",
        "Qin et al., NeurIPS 2022 (RAP-LS), with momentum as in TransferAttack",
        ITERATIVE | MOMENTUM | {"gradient": "rap"},
        paper={"steps": 400, "step_size": "2/255", "momentum": None},
        in_paper="eps 16/255",
    ),
    "mumodig": Preset(
        "as mi with the sum over z = x_t and 6 random transforms z of x_t of "
        "(z - b) grad L(f(b + 0.65 (z - b)), y), b a two-level baseline below z",
        "Ren et al., AAAI 2025",
        ITERATIVE | MOMENTUM | {"gradient": "mumodig"},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "mef": Preset(
        "as mi, mu = 0.5, with mean_{20} g_i, g_i at x_t + U(-2 eps, 2 eps) + 0.15 eps d_i; "
        "d_i = g_i / mean|g_i| - 0.9 d_i",
        "Qiu et al., arXiv 2405.16181, as in its public code",
        ITERATIVE | {"gradient": "mef", "momentum": {"mu": 0.5}},
        paper={"steps": 20, "step_size": "eps/10"},
        in_paper="eps 16/255",
    ),
    "anda": Preset(
        "as pgd with the mean of all gradients so far, of 5 x 5 shifts of x_t up to 0.15 of a side",
        "Fang et al., CVPR 2024",
        ITERATIVE | {"gradient": "anda"},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "sgm": Preset(
        "as pgd, gradients through f of each block x + f(x) times 0.2",
        "Wu et al., ICLR 2020; needs a source with skips",
        ITERATIVE | {"gradient": "sgm"},
        paper={"steps": 10, "step_size": "2/255"},
        in_paper="eps 16/255",
    ),
    "cwa": Preset(
        "x' = clip(x_t - r sign(g)), r = eps / 15; per member k of an ensemble v = v + g_k(x') / "
        "|g_k(x')|_2, x' = clip(x' + 250 v); then as mi along x' - x_t",
        "Chen et al., ICLR 2024 (MI-CWA)",
        ITERATIVE | MOMENTUM | {"gradient": "cwa"},
        paper={"steps": 10, "step_size": "eps/5"},
        in_paper="eps 16/255",
    ),
    "svre": Preset(
        "x' = x_t, G = 0; 4 times per member of an ensemble, for a random member k: h = g_k(x') - "
        "(g_k(x_t) - g), G = G + h / mean|h|, x' = clip(x' + a sign(G)); then as mi along G",
        "Xiong et al., CVPR 2022 (SVRE-MI-FGSM)",
        ITERATIVE | MOMENTUM | {"gradient": "svre"},
        paper=TENTHS,
        in_paper="eps 16/255",
    ),
    "adaea": Preset(
        "as mi, mu = 0.9, with g = grad L(sum_k w_k f_k(x_t), y), 0 at pixels whose members' "
        "gradients disagree; w = softmax_j(10 sum_{i != j} L_i(x_j) / L_i(x_i)), x_j a step of "
        "member j of an ensemble",
        "Chen et al., ICCV 2023 (AdaEA-MI-FGSM)",
        ITERATIVE | {"momentum": {"mu": 0.9}, "gradient": "adaea"},
        paper=TENTHS,
        in_paper="eps 16/255, a start of 0.001 N(0, 1)",
    ),
}
