"""Export: tables, PNG files and data sets of Hugging Face hold what the store holds, exactly."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.errors import InputError
from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.task import CLEAN
from segtransfer.export import export, tables
from segtransfer.results import ALL_METRICS, CONFUSION_METRICS, Results
from segtransfer.runtime.runner import carry_out
from segtransfer.store import Store
from segtransfer.tasks import metrics
from segtransfer.tasks.data.shards import shard_of
from segtransfer.tasks.perturbation import statistics
from tests.orchestrator.toy_experiments import CLASSES, blob_of, damage, run_toy, toy

ATTACKS = [
    {"preset": "noise", "eps": "8/255"},
    {
        "preset": "pgd",
        "eps": "8/255",
        "steps": 2,
        "name": "curve",
        "steps_at": [1, 2],
        "scores": ["raw", "eps*sign"],
    },
    {"preset": "pgd", "name": "round", "norm": "l2", "eps": "4/255", "steps": 2},
]
MODELS = [toy("a", seed=1) | {"backbone": "one"}, toy("b", seed=2), toy("c", seed=3)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two sources, three targets, one of them the same as a source, six images in three shards."""
    folder = tmp_path_factory.mktemp("export")
    return run_toy(folder, name="toys", models=MODELS, sources=["a", "b"], attacks=ATTACKS)


@pytest.fixture(scope="module")
def parquet(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(results.store.location, tmp_path_factory.mktemp("parquet")).folder


@pytest.fixture(scope="module")
def pictures(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("png")
    return export(results.store.location, folder, "png", predictions=True).folder


@pytest.fixture(scope="module")
def hub(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    return export(results.store.location, folder, "hf", predictions=True).folder


def cells_of(results: Results) -> list[tuple[str, str | None, str]]:
    return list(results.counts)


def images_of(results: Results, attack: str, source: str | None) -> dict[str, np.ndarray]:
    """The stored AEs 3 x H x W by image id."""
    found = {}
    for name, origin, _, shard_id, _, key in results.manifest.rows:
        if (name, origin) == (attack, source):
            shard, images = results.store.shard(shard_id), results.store.attack_images(key)
            assert shard is not None
            assert images is not None
            made = images[results.variants[attack].made]
            found |= dict(zip(shard.image_ids, made, strict=True))
    return found


def made_by(results: Results) -> list[tuple[str, str | None]]:
    return list(dict.fromkeys(cell[:2] for cell in cells_of(results) if cell[0] != CLEAN))


def rows_of(frame: pd.DataFrame, cell: tuple[str, str | None, str]) -> pd.DataFrame:
    attack, source, target = cell
    origin = frame.source.isna() if source is None else frame.source == source
    return frame[(frame.attack == attack) & origin & (frame.target == target)]


def read_png(path: Path) -> np.ndarray:
    """H x W class indices, or 3 x H x W."""
    pixels = np.asarray(Image.open(path))
    return pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


# Tables


def test_cells_hold_every_metric_of_every_cell_once(results: Results, parquet: Path) -> None:
    frame = pd.read_parquet(parquet / "cells.parquet")
    assert len(frame) == len(cells_of(results))
    for attack, source, target in cells_of(results):
        row = rows_of(frame, (attack, source, target)).iloc[0]
        assert row["images"] == 6
        assert row["complete"]
        for metric in CONFUSION_METRICS if attack == CLEAN else ALL_METRICS:
            if attack == CLEAN:
                expected = results.clean(metric)[target]
            else:
                expected = results.matrix(attack, metric).loc[source or "a", target]
            same = row[metric] == expected or (pd.isna(row[metric]) and pd.isna(expected))
            assert same, (attack, source, target, metric)
        group = None if source is None else results.group(source, target)
        assert row["group"] == group or (group is None and pd.isna(row["group"]))


def test_images_hold_the_stored_confusions_and_their_counts(
    results: Results, parquet: Path
) -> None:
    frame = pd.read_parquet(parquet / "images.parquet")
    assert len(frame) == 6 * len(cells_of(results))
    for cell in cells_of(results):
        rows = rows_of(frame, cell)
        assert tuple(rows["image_id"]) == results.image_ids
        assert tuple(rows["sequence"]) == results.sequences
        found = np.stack(rows["confusion"].to_list()).reshape(6, 3, 3)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(metrics.class_counts(found), results.counts[cell])
        assert rows["labelled_pixels"].tolist() == [22 * 32] * 6  # two of 24 rows are ignored
        assert rows["right_pixels"].tolist() == [int(np.trace(m)) for m in found]
        assert rows["fooled_pixels"].tolist() == results.fooled[cell][:, 0].tolist()


def test_images_hold_the_statistics_of_the_stored_perturbations(
    results: Results, parquet: Path
) -> None:
    frame = pd.read_parquet(parquet / "images.parquet")
    clean = images_of_shards(results)
    for attack, source in made_by(results):
        made, eps = images_of(results, attack, source), results.attack_spec(attack).eps
        rows = rows_of(frame, (attack, source, "c")).set_index("image_id")
        for image_id, image in made.items():
            expected = statistics(image[None], clean[image_id][None], eps)
            found = {name: [rows.loc[image_id, name]] for name in expected}
            assert found == expected
    assert frame[frame.attack == CLEAN]["rms"].isna().all()


def images_of_shards(results: Results) -> dict[str, np.ndarray]:
    shards = [results.store.shard(shard_id) for shard_id in results.manifest.shards]
    return {i: image for s in shards if s for i, image in zip(s.image_ids, s.images, strict=True)}


def test_attacks_and_models_are_described(results: Results, parquet: Path) -> None:
    attacks = pd.read_parquet(parquet / "attacks.parquet").set_index("attack")
    assert list(attacks.index) == results.attacks
    row = attacks.loc["curve:1:sign"]
    assert (row["step"], row["steps"], row["score"], row["needs_source"]) == (
        1,
        2,
        "eps*sign",
        True,
    )
    assert row["eps"] == 8 / 255
    assert row["rms"] == results.perturbation("curve:1:sign")["rms"]
    assert row["forward_equivalents"] == results.cost("curve:1:sign")["forward_equivalents"]
    assert json.loads(row["spec"])["steps_at"] == [1, 2]
    models = pd.read_parquet(parquet / "models.parquet").set_index("model")
    assert models["is_source"].to_dict() == {"a": True, "b": True, "c": False}
    assert models.loc["a", "backbone"] == "one"
    assert models.loc["a", "fingerprint"] == results.manifest.models["a"].fingerprint


def test_every_table_names_its_experiment(results: Results, parquet: Path) -> None:
    for name in ("cells", "images", "attacks", "models"):
        metadata = pq.read_schema(parquet / f"{name}.parquet").metadata
        assert metadata[b"segtransfer.experiment"].decode() == results.identity
        assert json.loads(metadata[b"segtransfer.classes"]) == CLASSES
        assert metadata[b"segtransfer.version"]
    about = json.loads((parquet / "experiment.json").read_text())
    assert (about["name"], about["experiment"], about["notes"]) == ("toys", results.identity, [])


def test_exports_reveal_no_folder(results: Results, parquet: Path) -> None:
    place = str(Path(results.store.location).parent)
    assert place in json.dumps(results.manifest.spec)
    assert place not in (parquet / "experiment.json").read_text()
    for name in ("attacks", "models"):
        assert place not in str(pq.read_table(parquet / f"{name}.parquet").to_pylist())


def test_csv_holds_the_same_without_matrices(
    results: Results, parquet: Path, tmp_path: Path
) -> None:
    folder = export(results.store.location, tmp_path / "new", "csv").folder
    for name in ("cells", "images", "attacks", "models"):
        expected = pd.read_parquet(parquet / f"{name}.parquet")
        found = pd.read_csv(folder / f"{name}.csv")
        expected = expected.drop(columns="confusion", errors="ignore")
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-15)


def test_a_large_table_is_written_in_parts(
    results: Results, parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP_BYTES", 2000)
    folder = export(results.store.location, tmp_path).folder
    assert pq.read_metadata(folder / "images.parquet").num_row_groups > 10
    whole, parts = (pq.read_table(f / "images.parquet") for f in (parquet, folder))
    assert parts.equals(whole)


def test_export_reports_progress(results: Results, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    export(results.store.location, tmp_path, advance=lambda *done: heard.append(done))
    count = len(results.manifest.shards)
    assert heard == [(done, count) for done in range(count + 1)]


# PNG files


def test_pictures_are_the_stored_pixels(results: Results, pictures: Path) -> None:
    for attack, source in made_by(results):
        folder = pictures / "attacks" / attack.replace(":", "=") / (source or "")
        for image_id, image in images_of(results, attack, source).items():
            assert np.array_equal(read_png(folder / f"{image_id}.png"), image)
    for shard_id in results.manifest.shards:
        shard = results.store.shard(shard_id)
        assert shard is not None
        for image_id, image, label in zip(shard.image_ids, shard.images, shard.labels, strict=True):
            assert np.array_equal(read_png(pictures / "images" / f"{image_id}.png"), image)
            assert np.array_equal(read_png(pictures / "labels" / f"{image_id}.png"), label)


def test_predictions_are_class_indices_in_the_data_sets_colours(
    results: Results, pictures: Path
) -> None:
    for attack, source, target, _, key, _ in results.manifest.rows:
        evaluation = results.store.evaluation(key)
        assert evaluation is not None
        folder = pictures / "predictions" / target / attack.replace(":", "=") / (source or "")
        for image_id, prediction in zip(evaluation.image_ids, evaluation.predictions, strict=True):
            image = Image.open(folder / f"{image_id}.png")
            assert np.array_equal(np.asarray(image), prediction)
            colours = np.asarray(image.convert("RGB"))[0, 0].tolist()
            assert colours == list(results.manifest.palette[prediction[0, 0]])


def test_pictures_scored_again_give_the_stored_confusions(
    results: Results, pictures: Path, tmp_path: Path
) -> None:
    runtime = {"store": str(tmp_path / "again"), "executor": "inline", "tracking": False}
    overrides = [f"models={json.dumps(MODELS)}", f"runtime={json.dumps(runtime)}"]
    again = carry_out(read_experiment(pictures / "again.yaml", overrides))
    assert sorted(again.image_ids) == sorted(results.image_ids)
    order = [again.image_ids.index(image_id) for image_id in results.image_ids]
    assert len(again.attacks) == len(made_by(results)) == 1 + 4 * 2 + 2
    for attack, source, target in cells_of(results):
        name = attack.replace(":", ".") + (f"-from-{source}" if source else "")
        found = again.counts[name, None, target]
        np.testing.assert_array_equal(found[order], results.counts[attack, source, target])


def test_names_of_images_stay_apart_and_below_the_folder(tmp_path: Path) -> None:
    ids = ("../up", "a/b", "a%2Fb", ".hidden", "..", "ä b")
    images = np.random.default_rng(0).integers(0, 256, (len(ids), 3, 4, 5), np.uint8)
    shard = shard_of(ids, ids, images, images[:, 0] % 3, group=0)
    store = Store(str(tmp_path / "store"))
    store.put_shard(shard)
    store.save_experiment("0" * 64, bare_content(shard.shard_id))
    folder = export(store.location, tmp_path / "below" / "out", "png").folder
    files = sorted((folder / "images").iterdir())
    assert len(files) == len(ids)
    assert {p.parent.parent for p in tmp_path.rglob("*.png")} == {folder}
    known = pd.read_csv(folder / "images.csv")
    assert tuple(known["image_id"]) == ids
    for name, image in zip(known["file"], images, strict=True):
        assert np.array_equal(read_png(folder / "images" / name), image)
    assert (folder / "images" / "ä b.png").is_file()


def bare_content(shard_id: str) -> dict[str, Any]:
    """An experiment that has images and did nothing with them."""
    return {
        "format": 2,
        "spec": {"name": "bare", "models": [], "attacks": []},
        "dataset": "none",
        "classes": CLASSES,
        "palette": [[0, 0, 0], [1, 1, 1], [2, 2, 2]],
        "shards": [shard_id],
        **{key: [] for key in ("sources", "targets", "attacks", "cells")},
        "models": {},
    }


# Hugging Face


def test_every_subset_of_the_card_exists_and_is_named(results: Results, hub: Path) -> None:
    _, head, text = (hub / "README.md").read_text().split("---\n", 2)
    configs = yaml.safe_load(head)["configs"]
    names = [config["config_name"] for config in configs]
    assert names == ["adversarial", "clean", "predictions", "cells", "images", "attacks", "models"]
    assert [config["config_name"] for config in configs if config.get("default")] == names[:1]
    for config in configs:
        (files,) = config["data_files"]
        assert list(hub.glob(files["path"])), config
        assert f"`{config['config_name']}`" in text
    assert "| source \\ target | a | b | c |" in text


def test_datasets_reads_images_labels_and_scores(
    results: Results, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    load = datasets.load_dataset
    adversarial = load(str(hub), split="test")
    assert len(adversarial) == 6 * len(made_by(results))
    for attack, source in made_by(results):
        made = images_of(results, attack, source)
        rows = [r for r in adversarial if (r["attack"], r["source"]) == (attack, source)]
        assert {r["image_id"] for r in rows} == made.keys()
        for row in rows:
            found = np.asarray(row["image"]).transpose(2, 0, 1)
            assert np.array_equal(found, made[row["image_id"]])
    for row in load(str(hub), "clean", split="test"):
        label = np.asarray(row["label"])
        assert label.shape == (24, 32)
        assert set(np.unique(label)) == {0, 1, 2, 255}
    for row in load(str(hub), "images", split="test"):
        cell = row["attack"], row["source"], row["target"]
        expected = results.counts[cell][results.image_ids.index(row["image_id"])]
        found = np.array(row["confusion"]).reshape(3, 3)
        np.testing.assert_array_equal(metrics.class_counts(found), expected)


# What is missing, and what is refused


def test_missing_results_are_left_out_with_a_note(results: Results, tmp_path: Path) -> None:
    partial = run_toy(tmp_path, name="partial", attacks=[{"preset": "pgd", "steps": 1}])
    store, cells = partial.store, partial.manifest.rows
    scored = next(c for c in cells if c[:3] == ("pgd", "a", "b"))
    made = next(c for c in cells if c[:2] == ("pgd", "b"))
    shard = partial.store.shard(scored[3])
    assert shard is not None
    damage(blob_of(store, scored[4]))
    damage(blob_of(store, made[5]))
    told = export(store.location, tmp_path / "tables")
    assert told.notes[0].startswith("PARTIAL: 1 of ")
    assert json.loads((told.folder / "experiment.json").read_text())["notes"] == list(told.notes)
    row = rows_of(pd.read_parquet(told.folder / "cells.parquet"), ("pgd", "a", "b")).iloc[0]
    assert (row["complete"], row["images"]) == (False, 6 - len(shard.image_ids))
    assert pd.isna(row["miou"])
    images = rows_of(pd.read_parquet(told.folder / "images.parquet"), ("pgd", "a", "b"))
    assert set(images["image_id"]) == set(partial.image_ids) - set(shard.image_ids)
    told = export(store.location, tmp_path / "png", "png")
    assert told.notes[0].startswith("PARTIAL: 1 of ")
    again = yaml.safe_load((told.folder / "again.yaml").read_text())
    assert [attack["name"] for attack in again["attacks"]] == ["pgd-from-a"]
    damage(Path(store.location, "shards", scored[3][:2], f"{scored[3]}.arrow"))
    told = export(store.location, tmp_path / "fewer", "png")
    assert len(told.notes) == 2
    again = yaml.safe_load((told.folder / "again.yaml").read_text())
    assert "pgd-from-a" in [attack["name"] for attack in again["attacks"]]


def test_scores_without_a_clean_shard_are_exported(tmp_path: Path) -> None:
    partial = run_toy(tmp_path, attacks=["noise"])
    lost = partial.manifest.shards[0]
    damage(Path(partial.store.location, "shards", lost[:2], f"{lost}.arrow"))
    told = export(partial.store.location, tmp_path / "tables")
    assert "1 of 3 shards of clean images and labels are missing" in told.notes[0]
    images = pd.read_parquet(told.folder / "images.parquet")
    assert len(images) == 6 * len(partial.counts)
    assert images["fooled_pixels"].isna().sum() == images["sequence"].isna().sum() > 0
    cells = pd.read_parquet(told.folder / "cells.parquet")
    assert cells["complete"].all()
    assert cells["miou"].notna().all()
    assert cells["fooling"].isna().all()


def test_hub_export_without_aes_names_no_empty_subset(tmp_path: Path) -> None:
    whole = run_toy(tmp_path, attacks=["noise"])
    for path in Path(whole.store.location, "blobs").rglob("*.arrow"):
        path.unlink()
    told = export(whole.store.location, tmp_path / "hub", "hf")
    assert told.notes
    card = (told.folder / "README.md").read_text()
    assert "PARTIAL" in card
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["configs"][0]["config_name"] == "clean"


def test_folder_with_files_is_refused_and_kept(results: Results, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("dear")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(InputError, match="give a new or empty folder"):
            export(results.store.location, out)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_export_from_several_experiments_needs_a_name(results: Results, tmp_path: Path) -> None:
    first = run_toy(tmp_path, name="first", attacks=["noise"])
    second = run_toy(tmp_path, name="second", attacks=["fgsm"])
    other = run_toy(tmp_path, name="second", attacks=["pgd"])
    location = first.store.location
    with pytest.raises(InputError, match=r"holds 3 experiments\. Name a single.*first-"):
        export(location, tmp_path / "out")
    with pytest.raises(InputError, match="holds 2 experiments that match 'second'"):
        export(location, tmp_path / "out", experiment="second")
    with pytest.raises(InputError, match=r"matches 'third'\. The store holds: second-"):
        export(location, tmp_path / "out", experiment="third")
    assert not (tmp_path / "out").exists()
    chosen_ones = "first", f"second-{second.identity[:8]}", other.identity[:10]
    for number, chosen in enumerate(chosen_ones):
        told = export(location, tmp_path / str(number), experiment=chosen)
        about = json.loads((told.folder / "experiment.json").read_text())
        assert about["experiment"] == (first, second, other)[number].identity


def test_command_prints_folder_and_size(results: Results, tmp_path: Path) -> None:
    store, out = results.store.location, tmp_path / "out"
    answer = CliRunner().invoke(app, ["export", store, str(out), "--format", "csv"])
    assert answer.exit_code == 0, answer.output
    assert f"Exported toys to {out}: 5 files" in answer.output.replace("\n", "")
    again = CliRunner().invoke(app, ["export", store, str(out)])
    assert again.exit_code == 2
    assert "is not empty" in again.stderr
    wrong = ["export", store, str(tmp_path / "new"), "--format", "csv", "--predictions"]
    assert "predictions are images" in CliRunner().invoke(app, wrong).stderr.replace("\n", " ")
