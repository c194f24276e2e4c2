"""Run the experiment and write table.tex: all attacks, one matrix, and a comparison."""

from pathlib import Path

from segtransfer import compare, run

results = run("experiment.yaml")
comparison = compare("mi", "ds-mi")
tables = [results.to_latex(), results.to_latex("ds-mi"), comparison.to_latex()]
Path("table.tex").write_text("\n\n".join(tables) + "\n")
print(results.to_markdown())
print(comparison)
print("Wrote table.tex. In the paper: \\usepackage{booktabs} and \\input{table}")
