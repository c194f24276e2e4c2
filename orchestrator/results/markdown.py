"""Transfer matrices as Markdown, for reports, exports and notes in MLflow."""

from segtransfer.results.published import published_line
from segtransfer.results.results import Results
from segtransfer.results.text import number
from segtransfer.results.views import transfer_matrix


def warning_sentences(results: Results, attacks: list[str]) -> list[str]:
    """Return the warnings about some attacks, in the order of ``Results.warnings``.

    Args:
        results: The results.
        attacks: Names of variants.

    Returns:
        The sentences about an attack of these variants, and the sentences about all attacks.
    """
    named = {results.variants[attack].attack for attack in attacks}
    return [w.sentence for w in results.warnings if not w.attacks or named & set(w.attacks)]


def markdown(results: Results, attacks: list[str]) -> str:
    """Return the matrices of some attacks as Markdown, after the warnings about these attacks.

    Args:
        results: The results.
        attacks: Names of variants, a table each.

    Returns:
        Per attack its settings, its means and a table of sources by targets: mIoU or accuracy in
        percent, with the change from clean in brackets. The last lines name the images and the
        published mIoU.
    """
    lines = []
    if sentences := warning_sentences(results, attacks):
        lines += ["**Warnings**", "", *(f"- {sentence}" for sentence in sentences), ""]
    for attack in attacks:
        matrix = transfer_matrix(results, attack)
        lines += [f"**{attack}**: {matrix.settings}", ""]
        lines += ["Means: " + "; ".join(mean.text for mean in matrix.headlines) + ".", ""]
        lines.append("| source \\ target | " + " | ".join(matrix.targets) + " |")
        lines.append("|---" * (len(matrix.targets) + 1) + "|")
        lines.append("| clean | " + " | ".join(map(number, matrix.clean)) + " |")
        for row in matrix.rows:
            lines.append(f"| {row.name} | " + " | ".join(c.text for c in row.cells) + " |")
        lines.append("")
    images = f"{len(results.image_ids)} images of {results.manifest.dataset}"
    lines.append(
        f"{results.headline_in_words} in % on {images}; in brackets the change from clean."
    )
    if line := published_line(results):
        lines += ["", f"{line}."]
    return "\n".join(lines) + "\n"
