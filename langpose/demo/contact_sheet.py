"""A contact sheet of the demo's actions: stick figures over time, from the front and from the side.

``python -m langpose.demo.contact_sheet FILE.png``
"""

import sys
from pathlib import Path

import numpy as np

from langpose.demo.anatomy import NAMES, PARENTS
from langpose.demo.choreography import ACTIONS, perform
from langpose.demo.kinematics import forward_kinematics

_COLOURS = {"left": "#c1443c", "right": "#2f6db3"}
_BODY_JOINTS = 22
_HEAD_TOP_M = 0.17


def contact_sheet(path: str | Path, seed: int = 0, frames: int = 9, actions: tuple[str, ...] = ACTIONS) -> None:
    """Draw one take of each action to ``path``: ``frames`` poses, front view above side view; red is left, blue right.

    The view turns with the body's first heading. Planted feet carry a dot. Needs matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = 2 if len(actions) > 6 else 1
    rows = -(-len(actions) // columns)
    figure, axes = pyplot.subplots(2 * rows, columns, figsize=(0.75 * frames * columns, 3.3 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, action in enumerate(actions):
        rng = np.random.default_rng([seed, index])
        betas = rng.normal(0, 0.7, 16)
        show = perform([action], betas, "neutral", 60.0, rng)
        joints = forward_kinematics(show.poses, show.trans, betas, "neutral")[:, :_BODY_JOINTS]
        across = joints[0, 1] - joints[0, 2]
        left = np.array([across[0], across[1], 0]) / np.hypot(across[0], across[1])
        forward = np.array([left[1], -left[0], 0])  # up x left is backwards: left x up
        origin = joints[0, 0] * (1, 1, 0)
        picked = np.linspace(0, len(joints) - 1, frames).round().astype(int)
        for view, direction in enumerate((left, forward)):
            axis = axes[2 * (index // columns) + view, index % columns]
            axis.axhline(0, color="#bbbbbb", linewidth=0.6)
            for place, frame in enumerate(picked):
                body = joints[frame] - origin
                drift = (joints[frame, 0] - origin) * (1, 1, 0)
                flat = np.stack([(body - drift) @ direction + 1.1 * place, body[:, 2]], -1)
                _draw(axis, flat, show.contacts[frame])
            axis.set_xlim(-0.8, 1.1 * (frames - 1) + 0.8)
            axis.set_ylim(-0.1, 2.35)
            axis.set_aspect("equal")
            if view == 0:
                axis.set_title(f"{action}: {show.segments[0].raw_label}", fontsize=8, loc="left", pad=1)
    figure.tight_layout(pad=0.2)
    figure.savefig(path, dpi=80, metadata={"Software": None} if str(path).endswith(".png") else None)
    pyplot.close(figure)


def _draw(axis: object, flat: np.ndarray, contact: np.ndarray) -> None:
    """One figure (22, 2) on a matplotlib axis."""
    plot = axis.plot  # type: ignore[attr-defined]
    for joint in range(1, _BODY_JOINTS):
        colour = _COLOURS.get(NAMES[joint].split("_")[0], "#333333")
        plot(*zip(flat[PARENTS[joint]], flat[joint], strict=True), color=colour, linewidth=1.4, solid_capstyle="round")
    crown = flat[15] + _HEAD_TOP_M * (flat[15] - flat[12]) / max(np.linalg.norm(flat[15] - flat[12]), 1e-6)
    plot(*zip(flat[15], crown, strict=True), color="#333333", linewidth=5, alpha=0.5, solid_capstyle="round")
    for foot, joint in enumerate((10, 11)):
        if contact[foot]:
            plot(*flat[joint], marker="o", markersize=2, color="#333333")


if __name__ == "__main__":
    contact_sheet(sys.argv[1])
