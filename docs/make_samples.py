"""Make docs/samples/: detections of two people, from CMU motion that profile cmu has filmed (data/cmu/lifting).

    make repro PROFILE=cmu      as far as stage convert; then
    .venv/bin/python docs/make_samples.py [--data data/cmu] [--out docs/samples]

The test subject walks and, beside that, bends: two recordings of the same virtual camera at 50 Hz, with the detector's
noise and drop-outs, three frames missing, in the layout of AlphaPose (Halpe-26; face and feet were not seen).
"""

import argparse
import json
from pathlib import Path

import numpy as np

from langpose.cameras import normalised_to_pixel
from langpose.joint_maps import SKELETONS
from langpose.lifting_sets import open_split
from langpose.skeleton import JOINTS

FRAMES = 200
MISSING = (90, 91, 92)


def detections(data: Path) -> list[dict]:
    split = open_split(data / "lifting" / "human36m", "test")
    halpe = SKELETONS["halpe26"]
    index = {name: number for number, name in enumerate(halpe.joints)}
    rows = []
    for person, action in enumerate(("Walk", "Bend"), 1):
        recordings = split.sequences[split.sequences["action"] == action]
        row = recordings.iloc[0]
        part = np.asarray(split.joints_2d[row["start"] : row["start"] + min(FRAMES, row["frames"])], np.float64)
        pixels = part.copy()
        pixels[..., :2] = normalised_to_pixel(part[..., :2], row["width"], row["height"])
        pixels[..., 0] += 420 * (person - 1)
        for frame, pose in enumerate(pixels):
            if frame in MISSING:
                continue
            body = np.zeros((halpe.number, 3))
            for number, joint in enumerate(JOINTS):
                if len(halpe.makes[joint]) == 1:
                    body[index[halpe.makes[joint][0]]] = pose[number]
            body[body[:, 2] <= 0] = 0
            keypoints = [round(float(value), 2) for value in body.ravel()]
            score = round(float(body[:, 2].mean()), 3)
            rows.append(
                {"image_id": f"{frame}.jpg", "category_id": 1, "keypoints": keypoints, "score": score, "idx": person}
            )
    return sorted(rows, key=lambda item: int(item["image_id"].split(".")[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/cmu"))
    parser.add_argument("--out", type=Path, default=Path("docs/samples"))
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in detections(options.data))
    (options.out / "two_people.json").write_text(f"[{lines}]\n")


if __name__ == "__main__":
    main()
