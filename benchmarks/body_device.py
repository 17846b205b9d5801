"""SMPL-H parameters to 17 joints on a GPU against the same lines in numpy, frames a second; needs no smplx.

    .venv/bin/python benchmarks/body_device.py [--device cuda] [--frames 262144] [--repeats 7] [--json FILE]

The stand-in body with soft tissue, float64 parameters in memory as a reader leaves them: copying to the device and back
is in the time. numpy has one thread, as each of `project`'s processes does. The ratio is the device over that thread.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from machine import interleaved, machine, pin, rates, save, show

from langpose.body import ReducedBody, read_model, read_regressor
from langpose.demo.standin_body import write_standin_body


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--frames", type=int, default=262_144)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pin(1)
    where = machine(1, "float32", options.device)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="body_device_") as name:
        write_standin_body(Path(name))
        model = read_model(Path(name) / "smplh/male/model.npz")
        regressor = read_regressor(Path(name) / "J_regressor_h36m_correct.npy")
    body = ReducedBody.fold(model, regressor, rng.normal(0, 0.002, (6890, 3, 8)))
    poses, trans = rng.normal(0, 0.5, (options.frames, 156)), rng.normal(0, 1, (options.frames, 3))
    betas, dmpls = rng.normal(0, 1, 16), rng.normal(0, 1, (options.frames, 8))
    few = min(16_384, options.frames)  # of the slower side
    parts = (poses[:few], trans[:few], betas, dmpls[:few])
    difference = float(np.abs(body(*parts, device=options.device) - body(*parts)).max())
    if difference > 1e-5:
        raise SystemExit(f"the sides differ by {difference:.2g} m; expected at most 1e-5 m")
    seconds = interleaved(
        {
            options.device: lambda: body(poses, trans, betas, dmpls, device=options.device),
            "numpy": lambda: body(*parts),
        },
        options.repeats,
    )
    rate = {side: rates(options.frames if side != "numpy" else few, taken) for side, taken in seconds.items()}
    print(f"{where}\n{options.frames:,} frames, {options.repeats} turns, differ by {difference:.1e} m\n")
    for side, figures in rate.items():
        print(f"{side:10}{show(figures)} frames/s")
    ratio = rate[options.device]["median"] / rate["numpy"]["median"]
    save(options.json, {"machine": where, "frames_per_second": rate, "difference_m": difference, "ratio": ratio})
    print(f"\nratio: {ratio:.1f}")


if __name__ == "__main__":
    main()
