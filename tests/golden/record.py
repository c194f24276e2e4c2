"""Record what the command makes of a fixed working folder, to compare two versions of the code.

    python tests/golden/record.py --out before.json      # at one commit
    python tests/golden/record.py --against before.json  # at another: says what differs

Runs experiments, a search and a study, and a number of wrong specs, through the installed command.
Records every row (task, blob hash, report without times), every shard, experiment, trial and
failure, the cells of the exported tables, and exit codes and messages. Blob hashes hold on one
kind of machine; the keys alone hold everywhere, and stand in ``keys.json``.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent))
import working_folder

COMMAND = Path(sys.executable).parent / "segtransfer"
MEASURED = {"seconds", "created", "at", "peak_bytes", "updated", "wall_seconds"}
Record = dict[str, Any]


def main() -> None:
    """Make a record; write it, or compare it with one that was written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the record here")
    parser.add_argument("--keep", type=Path, help="keep the working folder and its stores here")
    parser.add_argument("--against", type=Path, help="compare with this record")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="st-gold-", dir="/tmp"))
    try:
        record = make_record(scratch)
        if options.keep:
            shutil.copytree(scratch / "work", options.keep)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if options.out:
        options.out.write_text(json.dumps(record, indent=1, sort_keys=True))
    if options.against:
        differences = compare(json.loads(options.against.read_text()), record)
        print("\n".join(differences[:60]) or "equal")
        sys.exit(bool(differences))


def make_record(scratch: Path) -> Record:
    """Run everything in a new folder below ``scratch``."""
    folder = working_folder.write(scratch / "work")
    commands: Record = {}

    def command(*arguments: str) -> None:
        commands[" ".join(arguments)] = run(folder, scratch, *arguments)

    for name in working_folder.EXPERIMENTS:
        command("run", f"{name}.yaml", "--store", f"store-{name}")
        for form in ("csv", "parquet", "png"):
            command("export", f"store-{name}", f"out-{name}-{form}", "--format", form)
    command("run", "presets.yaml", "--store", "store-presets")
    command("study", "eps", "base.yaml", "--store", "store-study")
    command("search", "seek.yaml", "--store", "store-search")
    for override in working_folder.WRONG_OVERRIDES:
        command("plan", "presets.yaml", *override)
    for words in working_folder.WRONG_COMMANDS:
        command(*words)
    stores = {path.name: read_store(path, scratch) for path in sorted(folder.glob("store-*"))}
    tables = {
        str(path.relative_to(folder)): digest_of(path.read_text(), scratch)
        for path in sorted(folder.glob("out-*/*.csv"))
        if path.stem in ("cells", "images", "models")
    }
    tables |= {
        str(path.relative_to(folder)): schema_of(path, scratch)
        for path in sorted(folder.glob("out-*/*.parquet"))
    }
    trees = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("out-*-png/**/*.png"))
    }
    return {"commands": commands, "stores": stores, "tables": tables, "trees": trees}


def run(folder: Path, scratch: Path, *arguments: str) -> Record:
    """Exit code, and of a wrong command what it says, without paths and times."""
    token = scratch / "token"
    if not token.exists():
        token.write_text(secrets.token_hex(32))
    environment = {
        **os.environ,
        "RAY_TMPDIR": str(scratch),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "1000",
    }
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    print(" ".join(arguments), "->", done.returncode, flush=True)
    said = done.stderr if done.returncode == 2 else ""
    return {"code": done.returncode, "said": said.replace(str(scratch), "SCRATCH")}


def read_store(store: Path, scratch: Path) -> Record:
    """Everything of a store that must not change, read without the package."""
    rows = {}
    for path in sorted(store.glob("rows/*/*.parquet")):
        (row,) = pq.read_table(path).to_pylist()
        row["report"] = without_measured(json.loads(row["report"]))
        rows[row["key"]] = {k: v for k, v in row.items() if k not in ("created", "row_sha256")}
        blob = store / row["blob"]
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == row["sha256"], blob
    documents = {
        str(path.relative_to(store)): digest_of(path.read_text(), scratch)
        for folder in ("experiments", "searches")
        for path in sorted(store.glob(f"{folder}/**/*.json"))
    }
    failures = {
        path.stem: sentence_of(json.loads(path.read_text())["message"])
        for path in sorted(store.glob("failures/*/*.json"))
    }
    shards = sorted(path.stem for path in store.glob("shards/*/*.arrow"))
    return {"rows": rows, "documents": documents, "failures": failures, "shards": shards}


def schema_of(path: Path, scratch: Path) -> dict[str, str]:
    """Columns and metadata of a Parquet file."""
    schema = pq.read_schema(path)
    metadata = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
    metadata.pop("ARROW:schema", None)
    text = json.dumps(metadata, sort_keys=True).replace(str(scratch), "SCRATCH")
    return {"columns": str(schema.remove_metadata()), "metadata": text}


def sentence_of(traceback: str) -> str:
    """The last line of a traceback, without the module that defines the exception's class."""
    return re.sub(r"^[\w.]+\.(?=\w+:)", "", traceback.strip().splitlines()[-1])


def digest_of(text: str, scratch: Path) -> str:
    """sha256 of a text or JSON document without times and without the scratch folder's name."""
    with contextlib.suppress(ValueError):
        text = json.dumps(without_measured(json.loads(text)), sort_keys=True)
    return hashlib.sha256(text.replace(str(scratch), "SCRATCH").encode()).hexdigest()


def without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_measured(v) for k, v in value.items() if k not in MEASURED}
    if isinstance(value, list):
        return [without_measured(item) for item in value]
    return value


def compare(before: Any, after: Any, where: str = "") -> list[str]:
    """One line for each place at which two records differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line
            for key in sorted({*before, *after})
            for line in compare(before.get(key), after.get(key), f"{where}/{key}")
        ]
    return [] if before == after else [f"{where}: {before!r} -> {after!r}"]


if __name__ == "__main__":
    main()
