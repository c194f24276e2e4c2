"""What each rule was compared with: a test of the tree, and code of others outside the tree."""

from typing import NamedTuple


class Oracle(NamedTuple):
    """An independent implementation of a rule.

    Attributes:
        test: The test of the tree, a file below ``tests/tasks/attacks``, with what it compares.
        outside: The comparison with code of others that is not in the tree; empty for none.
    """

    test: str
    outside: str = ""


_TORCHATTACKS = "`test_oracle_torchattacks.py`: torchattacks 3.5.1, every iterate within 1e-12"
_FOOLBOX = "`test_oracle_foolbox.py`: foolbox, every iterate within 1e-12"
_SAME = "the authors' or a widely used code on segformer-mit: all 8-bit values equal"
_TRANSFER = "TransferAttack on a toy: equal to 4e-16"
_RIVALS = "`transforms/test_oracle_rivals.py`: a loop from the source"
_NATIVE = "`test_oracle_native.py`: a loop from the authors' code"
_RULES = "`gradient_rules/test_oracle.py`: a loop from the source, float64 within 1e-12"
_ENSEMBLES = "`test_ensemble_rules.py`: a loop from the source, float64 within 1e-12"
_LOSSES = "`test_losses.py`: the formula per pixel, by hand and by finite differences"
_PAPERS = "`loops/test_oracle_papers.py`: the paper's algorithm as a loop"
_SMALLEST = "`loops/test_minimum_norm.py`: a loop from the authors' code"

# Presets of `test_oracle_networks.py`: the same loops on two networks of the zoo.
ON_NETWORKS = frozenset(
    [
        "gra",
        "pgn",
        "emi",
        "rap",
        "mef",
        "anda",
        "mumodig",
        "si-random",
        "us-mm",
        "ssa",
        "ssa-through",
        "flip-mi",
        "sia",
        "bsr",
        "cwa",
        "svre",
        "adaea",
        "apgd",
        "sea",
        "padam-ce",
        "padam-cos",
        "pgd",
        "masked-ce",
        "segpgd",
        "cospgd",
        "js",
        "mask-norm",
        "tsallis",
        "uncertainty",
        "rp-region",
        "dr",
        "fspgd",
        "fia",
        "naa",
        "ila",
        "alma-prox",
        "dag",
    ]
)

# By preset; combinations of rules are compared through their parts.
ORACLES = {
    "noise": Oracle("`test_loop.py`: draws inside ball and box, from seed and image"),
    "fgsm": Oracle(_FOOLBOX),
    "pgd": Oracle(_FOOLBOX, _SAME),
    "mi": Oracle(_TORCHATTACKS, _SAME),
    "ni": Oracle(_TORCHATTACKS),
    "vt": Oracle(_TORCHATTACKS),
    "ti": Oracle(_TORCHATTACKS, _SAME),
    "di": Oracle("`transforms/test_diversity.py`: sizes, places and labels of views, by hand"),
    "rdi": Oracle("`transforms/test_diversity.py`: DI, resized back"),
    "flip-mi": Oracle(_RIVALS),
    "si": Oracle(_TORCHATTACKS, _SAME),
    "si-random": Oracle(_RIVALS),
    "admix": Oracle("`transforms/test_intensity.py`: every mixed pair; with strength 0 it is SI"),
    "us-mm": Oracle(_RIVALS, "TransferAttack on segformer-mit: 100 % equal"),
    "ssa": Oracle(_RIVALS, "TransferAttack: 99.8 % equal on segformer-mit, 93.2 % on pspnet-r18"),
    "ssa-through": Oracle(_RIVALS),
    "sia": Oracle(_RIVALS, "TransferAttack on segformer-mit: 100 % equal"),
    "bsr": Oracle(_RIVALS, "TransferAttack: 99.9 % equal on segformer-mit, 96.9 % on pspnet-r18"),
    "segpgd": Oracle(_LOSSES, _SAME),
    "cospgd": Oracle(_LOSSES, _SAME),
    "masked-ce": Oracle(_LOSSES, _SAME),
    "js": Oracle(_LOSSES, _SAME),
    "mask-norm": Oracle(_LOSSES),
    "fspgd": Oracle(
        "`test_features.py`: a double loop over positions, finite differences",
        "the authors' code at one image a batch: all signs equal",
    ),
    "tsallis": Oracle(_NATIVE, "the authors' code: 99.6 to 100 % equal"),
    "uncertainty": Oracle(_NATIVE),
    "rp-region": Oracle(_NATIVE),
    "fia": Oracle(f"{_NATIVE}, more than 99.5 % of the values"),
    "naa": Oracle(f"{_NATIVE}, more than 99.5 % of the values"),
    "ila": Oracle(f"{_NATIVE}, more than 99.5 % of the values"),
    "dr": Oracle(f"{_NATIVE}, more than 99.5 % of the values"),
    "gra": Oracle(_RULES, _TRANSFER),
    "pgn": Oracle(_RULES, _TRANSFER),
    "emi": Oracle(_RULES, _TRANSFER),
    "rap": Oracle(_RULES, _TRANSFER),
    "mumodig": Oracle(_RULES, _TRANSFER),
    "mef": Oracle(_RULES, _TRANSFER),
    "anda": Oracle(_RULES, _TRANSFER),
    "sgm": Oracle("`gradient_rules/test_sgm.py`: the gradient of residual blocks by formula"),
    "cwa": Oracle(_ENSEMBLES, "the authors' code on zoo models: 98.6 to 99.9 % equal"),
    "svre": Oracle(_ENSEMBLES, "TransferAttack on zoo models: 100 % equal"),
    "adaea": Oracle(_ENSEMBLES, "the authors' code on zoo models: 100 % equal"),
    "apgd": Oracle(_PAPERS, "the authors' code on segformer-mit: all 8-bit values equal"),
    "sea": Oracle(
        f"{_PAPERS}, the shrinking radius too",
        "the authors' code on segformer-mit with a row repaired, whose first window compares with "
        "zeros: all 8-bit values equal; as shipped 19 to 50 %",
    ),
    "padam-ce": Oracle(_PAPERS, "the authors' code on segformer-mit: all 8-bit values equal"),
    "padam-cos": Oracle(_PAPERS),
    "alma-prox": Oracle(
        _SMALLEST, "adversarial-library with our prox, 20 steps: all 8-bit values equal"
    ),
    "dag": Oracle(_SMALLEST),
    "ds": Oracle(
        "`test_loop.py`, `transforms/test_scaling.py`: with all scales 1 it is PGD bit for bit; "
        "sizes, laws and the blur of resizing by formula"
    ),
}
