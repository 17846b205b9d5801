"""SMPL-H parameters to 17 joints, frames a second: our reduced body against the smplx mesh and the joint regressor.

    .venv/bin/python benchmarks/project.py [--threads 1] [--frames 4096] [--repeats 7] [--json FILE]

Bodies have SMPL-H's true size (6890 vertices, 52 bones, 16 betas, 459 pose features), the parameters are random, the
same for both sides. "local" ties a vertex to four bones that are neighbours, as a body does (the stand-in's regressor,
its weights spread further); "random" to any four, the worst case: more pairs of bone and joint to compute. In both,
every pose feature moves every vertex. smplx has no soft tissue; its directions are appended to the shape's, its scores
to the betas, as human_body_prior does. Loading is in neither side; smplx gets the batch size that suits it best here.
With one thread, seconds are the processor's, whoever else uses the machine. The ratio is the smallest of the four. At
the end: where `amass.read` spends its time on a file of 60 s at 120 Hz.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import smplx
import torch
from full_size import performance, write_amass_file
from machine import interleaved, machine, pin, rates, save, show

from langpose.body import ReducedBody, read_model, read_regressor, smplx_joints
from langpose.demo.standin_body import write_standin_body
from langpose.sources import amass

Model = dict[str, np.ndarray]
BATCHES = (8, 32, 128)


def local_body(folder: Path, rng: np.random.Generator) -> tuple[Model, np.ndarray]:
    """The stand-in body, its weights spread to four neighbouring bones, its pose features replaced by dense ones."""
    model = read_model(folder / "smplh/male/model.npz")
    near = np.eye(52)
    near[np.arange(1, 52), model["parents"][1:]] = near[model["parents"][1:], np.arange(1, 52)] = 0.2
    weights = model["weights"] @ near
    weights[weights < np.sort(weights, axis=1)[:, -4:-3]] = 0
    model["weights"] = weights / weights.sum(1, keepdims=True)
    model["posedirs"] = rng.standard_normal((6890, 3, 459), np.float32) * np.float32(0.003)
    return model, read_regressor(folder / "J_regressor_h36m_correct.npy")


def random_body(rng: np.random.Generator) -> tuple[Model, np.ndarray]:
    """Four random bones a vertex, seven random vertices a joint: nothing can cancel."""
    weights = np.zeros((6890, 52))
    for row in weights:
        row[rng.choice(52, 4, replace=False)] = rng.dirichlet(np.ones(4))
    joints, regressor = np.zeros((52, 6890)), np.zeros((17, 6890))
    for row in (*joints, *regressor):
        row[rng.choice(6890, 7, replace=False)] = rng.dirichlet(np.ones(7))
    return {
        "v_template": rng.normal(0, 0.3, (6890, 3)),
        "shapedirs": rng.normal(0, 0.02, (6890, 3, 16)),
        "posedirs": rng.standard_normal((6890, 3, 459), np.float32) * np.float32(0.003),
        "J_regressor": joints,
        "weights": weights,
        "parents": np.array([-1, *(int(rng.integers(max(0, bone - 4), bone)) for bone in range(1, 52))]),
    }, regressor


def mesh_route(model: Model, regressor: np.ndarray, soft: np.ndarray) -> Callable[..., np.ndarray]:
    """smplx's vertices, then the regressor, as `langpose.body.smplx_joints` with soft tissue and loaded once."""
    shape = np.zeros((6890, 3, 300), np.float32)  # smplx cuts betas to 10 where there are fewer
    used = np.concatenate([model["shapedirs"], soft], axis=2)
    shape[:, :, : used.shape[2]] = used
    unused: dict[str, Any] = {"f": np.zeros((1, 3), np.int64)}
    unused |= dict.fromkeys(("hands_meanl", "hands_meanr"), np.zeros(45))
    unused |= dict.fromkeys(("hands_componentsl", "hands_componentsr"), np.zeros((45, 45)))
    kintree = np.stack([model["parents"], np.arange(52)])
    struct = smplx.utils.Struct(**{**model, **unused, "shapedirs": shape, "kintree_table": kintree})
    body = smplx.SMPLH("", data_struct=struct, use_pca=False, flat_hand_mean=True, num_betas=used.shape[2], ext="npz")
    rows = torch.from_numpy(regressor.astype(np.float32))

    def joints(poses: np.ndarray, trans: np.ndarray, betas: np.ndarray, dmpls: np.ndarray, batch: int) -> np.ndarray:
        parts = []
        for start in range(0, len(poses), batch):
            window = slice(start, start + batch)
            pose = torch.from_numpy(poses[window].astype(np.float32))
            shapes = np.concatenate([np.broadcast_to(betas, (len(pose), len(betas))), dmpls[window]], axis=1)
            output = body(
                betas=torch.from_numpy(shapes.astype(np.float32)),
                global_orient=pose[:, :3], body_pose=pose[:, 3:66],
                left_hand_pose=pose[:, 66:111], right_hand_pose=pose[:, 111:],
                transl=torch.from_numpy(trans[window].astype(np.float32)),
            )  # fmt: skip
            parts.append((rows @ output.vertices).numpy())
        return np.concatenate(parts)

    return joints


def clock() -> Callable[[], float]:
    """Of the processor, where one thread computes; else the wall's."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def compare(model: Model, regressor: np.ndarray, dmpl: bool, frames: int, repeats: int, seed: int) -> dict[str, Any]:
    """Equality to 1e-5 m, then frames a second of both sides."""
    rng = np.random.default_rng(seed)
    soft = rng.normal(0, 0.02, (6890, 3, 8 if dmpl else 0))
    poses, trans = rng.normal(0, 0.5, (frames, 156)), rng.normal(0, 1, (frames, 3))
    betas, dmpls = rng.normal(0, 1, 16), rng.normal(0, 1, (frames, 8 if dmpl else 0))
    body = ReducedBody.fold(model, regressor, soft)
    mesh = mesh_route(model, regressor, soft)

    few = frames // 8  # theirs is slow: an eighth of the frames for it
    part = (poses[:few], trans[:few], betas, dmpls[:few])
    difference = float(np.abs(body(*part) - mesh(*part, 32)).max())
    if difference > 1e-5:
        raise SystemExit(f"the sides differ by {difference:.2g} m; expected at most 1e-5 m")
    trial = interleaved({str(size): partial(mesh, *part, size) for size in BATCHES}, 2)
    batch = int(min(trial, key=lambda size: min(trial[size])))
    seconds = interleaved(
        {"ours": lambda: body(poses, trans, betas, dmpls), "theirs": lambda: mesh(*part, batch)}, repeats, clock()
    )
    ours, theirs = rates(frames, seconds["ours"]), rates(few, seconds["theirs"])
    turns = [(frames / a) / (few / b) for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
    return {"ours": ours, "theirs": theirs, "ratio": ours["median"] / theirs["median"], "batch": batch,
            "ratio_of_turns": [min(turns), max(turns)],
            "difference_m": difference, "pairs": len(body.pair_bone), "bones": len(body.bones)}  # fmt: skip


def reading(folder: Path, repeats: int) -> dict[str, float]:
    """Where the time of `amass.read` goes: opening the npz, the body, and the checks; medians, seconds."""
    rng = np.random.default_rng(1)
    for gender in ("male", "female", "neutral"):
        (folder / "dmpls" / gender).mkdir(parents=True)
        np.savez(folder / "dmpls" / gender / "model.npz", eigvec=rng.normal(0, 0.002, (6890, 3, 8)))
    file = folder / "CMU" / "01" / "01_01_poses.npz"
    motion = performance(60.0, 120.0, rng)
    write_amass_file(file, motion, "male")
    models = amass.BodyModels(folder)
    body = models.load("male")

    def load() -> None:
        with np.load(file) as archive:
            for key in archive.files:
                archive[key]

    arrays = (motion["poses"], motion["trans"], motion["betas"], motion["dmpls"])
    seconds = interleaved(
        {"all": lambda: amass.read(file, models), "npz": load, "body": lambda: body(*arrays)}, repeats, clock()
    )
    found = {name: statistics.median(times) for name, times in seconds.items()}
    return {**found, "frames": len(motion["poses"]), "bytes": file.stat().st_size}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pin(options.threads)
    torch.set_grad_enabled(False)
    where = machine(options.threads, "float32")
    print(f"{where}\n{options.frames} frames ours, {options.frames // 8} theirs, {options.repeats} turns\n")
    print(
        f"{'body':18}{'pairs':>6}  {'ours, frames/s (spread)':36}{'theirs, frames/s (spread)':34}{'ratio':>6}  differ"
    )
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="project_") as name:
        folder = Path(name)
        write_standin_body(folder)
        _check_mesh_route(folder)
        for kind in ("local", "random"):
            rng = np.random.default_rng(0)
            model, regressor = local_body(folder, rng) if kind == "local" else random_body(rng)
            for dmpl in (False, True):
                row = compare(model, regressor, dmpl, options.frames, options.repeats, seed=2 + dmpl)
                title = kind + (", soft tissue" if dmpl else "")
                results[title] = row
                print(
                    f"{title:18}{row['pairs']:>6}  {show(row['ours']):36}{show(row['theirs']):34}"
                    f"{row['ratio']:>6.1f}  {row['difference_m']:.1e} m",
                    flush=True,
                )
        read = reading(folder, options.repeats)
    rest = read["all"] - read["npz"] - read["body"]
    print(
        f"\namass.read, {read['frames']:.0f} frames, {read['bytes'] / 2**20:.1f} MiB compressed, soft tissue: "
        f"{read['all'] * 1000:.0f} ms = {read['frames'] / read['all']:,.0f} frames/s; reading the npz "
        f"{read['npz'] / read['all']:.0%}, the body {read['body'] / read['all']:.0%}, checks {rest / read['all']:.0%}"
    )
    ratio = min(row["ratio"] for row in results.values())
    save(options.json, {"machine": where, "rows": results, "amass_read": read, "ratio": ratio})
    print(f"ratio: {ratio:.1f}")


def _check_mesh_route(folder: Path) -> None:
    """This file's route is `smplx_joints`: nothing of it was made slower here."""
    path, rng = folder / "smplh/male/model.npz", np.random.default_rng(5)
    regressor = read_regressor(folder / "J_regressor_h36m_correct.npy")
    poses, trans, betas = rng.normal(0, 0.5, (4, 156)), rng.normal(0, 1, (4, 3)), rng.normal(0, 1, 16)
    mesh = mesh_route(read_model(path), regressor, np.zeros((6890, 3, 0)))
    theirs = mesh(poses, trans, betas, np.zeros((4, 0)), 4)
    np.testing.assert_allclose(theirs, smplx_joints(path, regressor, poses, trans, betas), rtol=0, atol=1e-6)


if __name__ == "__main__":
    main()
