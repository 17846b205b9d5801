"""Figures 2 to 5 of the paper (masks on a clip, measured embeddings and predictions), scores, and label counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from langpose.embeddings import purity
from langpose.skeleton import LEFT, LIMBS, RIGHT
from langpose.storage import replacing

LEFT_COLOUR, RIGHT_COLOUR, MIDDLE_COLOUR = "#d1495b", "#00798c", "#3d405b"
PALETTE = (
    "#00798c", "#d1495b", "#edae49", "#66a182", "#2e4057", "#8d6a9f", "#f28f3b", "#5fa8d3", "#a3a847",
)  # fmt: skip


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update(
        {"font.size": 9, "svg.hashsalt": "langpose", "axes.titlesize": 9, "font.family": "DejaVu Sans"}
    )
    return pyplot


def _save(figure: Any, path: Path, dpi: int = 110) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as handle:
        # no program name or version inside: the same data give the same bytes
        figure.savefig(handle, format="png", dpi=dpi, metadata={"Software": None})
    _pyplot().close(figure)


def draw_pose(axes: Any, pose: np.ndarray, hidden: np.ndarray | None = None, width: float = 1.6) -> None:
    """Draw one skeleton (17, 2) with y pointing down: left red, right blue; limbs to ``hidden`` joints are dotted."""
    for parent, joint in LIMBS:
        colour = LEFT_COLOUR if joint in LEFT else RIGHT_COLOUR if joint in RIGHT else MIDDLE_COLOUR
        style = ":" if hidden is not None and (hidden[parent] or hidden[joint]) else "-"
        axes.plot(*pose[[parent, joint]].T, style, color=colour, linewidth=width, solid_capstyle="round")
    axes.set_aspect("equal")
    axes.axis("off")


def masks_figure(path: Path, rows: Sequence[tuple[str, np.ndarray]], rate_hz: float, columns: int = 12) -> None:
    """Figures 2 and 3 on a clip: what the model is shown, a row a corruption.

    ``rows`` are (name, input (T, 17, 3): x, y, confidence). Visible joints stand where the input has them, limbs
    between two of them paler the less confident; the clip as it is, the first of ``rows``, is faint behind.
    Beside each row all its frames (right) and joints (down): white is hidden.
    """
    pyplot = _pyplot()
    clean = rows[0][1]
    figure, panels = pyplot.subplots(
        len(rows), columns + 2, figsize=(1.0 * columns + 2.6, 1.28 * len(rows)), layout="constrained",
        gridspec_kw={"width_ratios": [1.0] + [1] * columns + [2.2]},
    )  # fmt: skip
    low, high = clean[..., :2].min((0, 1)), clean[..., :2].max((0, 1))
    middle, half = (low + high) / 2, 0.56 * (high - low).max()
    shown = np.linspace(0, len(clean) - 1, columns).round().astype(int)
    for (name, x), line in zip(rows, panels, strict=True):
        line[0].text(0.0, 0.5, name, va="center", fontsize=8)
        line[0].axis("off")
        for frame, axes in zip(shown, line[1:-1], strict=True):
            here, confidence = x[frame, :, :2], np.clip(x[frame, :, 2], 0, 1)
            for parent, joint in LIMBS:
                colour = LEFT_COLOUR if joint in LEFT else RIGHT_COLOUR if joint in RIGHT else MIDDLE_COLOUR
                axes.plot(*clean[frame, [parent, joint], :2].T, color="#e4e6ea", linewidth=1.2)
                if confidence[parent] > 0 and confidence[joint] > 0:
                    alpha = 0.25 + 0.75 * float(min(confidence[parent], confidence[joint]))
                    axes.plot(*here[[parent, joint]].T, color=colour, linewidth=1.2, alpha=alpha)
            seen = confidence > 0
            axes.scatter(*here[seen].T, s=3, color=MIDDLE_COLOUR, linewidths=0, zorder=3)
            axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] + half, middle[1] - half))
            axes.set_aspect("equal")
            axes.axis("off")
            if x is clean:
                axes.set_title(f"{frame / rate_hz:.1f} s", fontsize=7)
        line[-1].imshow(
            np.where(x[..., 2].T > 0, 0.35 + 0.65 * x[..., 2].T, 0), cmap="Blues", vmin=0, vmax=1.3, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        line[-1].set(xticks=[], yticks=[])
    _save(figure, path)


def tsne_figure(
    path: Path, groups: Sequence[tuple[str, np.ndarray]], verbs: Sequence[str], recordings: np.ndarray, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Figure 4: one t-SNE picture a (title, features (N, D)) of the same N clips, coloured by verb.

    Returns, a title, the numbers written beside its picture: purity of the 10 nearest neighbours from other
    ``recordings`` (N,), and silhouette, both of the full embedding and not of the picture, so that the claim can be
    checked.
    """
    from sklearn.manifold import TSNE
    from sklearn.metrics import silhouette_score

    truth = np.asarray(verbs)
    names = sorted(set(verbs))
    pyplot = _pyplot()
    figure, panels = pyplot.subplots(
        1, len(groups), figsize=(4.6 * len(groups), 4.4), layout="constrained", squeeze=False
    )
    numbers: dict[str, dict[str, float]] = {}
    for axes, (title, features) in zip(panels[0], groups, strict=True):
        unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        enough = len(names) > 1 and len(unit) > len(names)
        numbers[title] = {
            "purity10": purity(unit, truth, recordings),
            "silhouette": float(silhouette_score(unit, truth)) if enough else float("nan"),
        }
        perplexity = float(min(30, max(2, (len(unit) - 1) // 4)))
        points = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(
            unit.astype(np.float32)
        )
        for index, name in enumerate(names):
            chosen = truth == name
            colour = PALETTE[index % len(PALETTE)]
            axes.scatter(*points[chosen].T, s=14, color=colour, label=f"{name} ({chosen.sum()})", linewidths=0)
        axes.set_title(
            f"{title}\n10-NN purity {numbers[title]['purity10']:.1f} %, silhouette {numbers[title]['silhouette']:.3f}"
        )
        axes.set_xticks([])
        axes.set_yticks([])
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(names), 5), frameon=False)
    _save(figure, path)
    return numbers


def choose_frames(ours_mm: np.ndarray, baseline_mm: np.ndarray, clip: np.ndarray) -> list[tuple[str, int]]:
    """Frames for Figure 5 by a stated rule: the largest gain, the median and the largest loss of ours over baseline.

    Per-frame errors (F,) and the clip each frame belongs to (F,). One frame a clip (its frame of median difference), so
    that a single odd frame does not decide. Returns (name, frame index) for each of the three.
    """
    gain = baseline_mm - ours_mm
    frames = []
    for name in np.unique(clip):
        rows = np.flatnonzero(clip == name)
        frames.append(rows[np.argsort(gain[rows], kind="stable")[len(rows) // 2]])
    order = sorted(frames, key=lambda row: (-gain[row], row))
    return [("largest gain", order[0]), ("median", order[len(order) // 2]), ("largest loss", order[-1])]


def qualitative_figure(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Figure 5: the same frames from ours, the baseline and the input.

    Each row has ``name``, ``ours``, ``baseline``, ``truth`` (17, 3) mm root-relative camera frame, ``input`` (17, 2) px
    and ``confidence`` (17,). 3D poses are shown from the camera and turned 60° about the vertical, over the truth.
    """
    pyplot = _pyplot()
    titles = ("LangPose", "baseline", "LangPose, turned 60°", "baseline, turned 60°", "2D input")
    figure, panels = pyplot.subplots(
        len(rows), len(titles), figsize=(2.1 * len(titles), 2.3 * len(rows)), layout="constrained", squeeze=False
    )
    cos, sin = np.cos(np.pi / 3), np.sin(np.pi / 3)
    for line, row in zip(panels, rows, strict=True):
        for axes, source, turned in (
            (line[0], "ours", False),
            (line[1], "baseline", False),
            (line[2], "ours", True),
            (line[3], "baseline", True),
        ):
            for pose, ghost in ((row["truth"], True), (row[source], False)):
                x = pose[:, 0] * cos + pose[:, 2] * sin if turned else pose[:, 0]
                flat = np.stack([x, pose[:, 1]], 1)
                if ghost:
                    for parent, joint in LIMBS:
                        axes.plot(*flat[[parent, joint]].T, color="#c9c9c9", linewidth=3.2, solid_capstyle="round")
                else:
                    draw_pose(axes, flat)
            axes.invert_yaxis()
            if not turned:
                error = np.linalg.norm(row[source] - row["truth"], axis=-1).mean()
                axes.text(0.5, -0.02, f"{error:.0f} mm", transform=axes.transAxes, ha="center", va="top", fontsize=8)
        draw_pose(line[4], row["input"], hidden=row["confidence"] < 0.3)
        line[4].invert_yaxis()
        line[0].text(
            -0.12, 0.5, row["name"], transform=line[0].transAxes, rotation=90, va="center", ha="right", fontsize=8
        )
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title)
    figure.supxlabel("grey: ground truth; red: left, blue: right; dotted: joints the detector is unsure of", fontsize=8)
    _save(figure, path)


def bars_figure(path: Path, actions: Sequence[str], series: Sequence[tuple[str, np.ndarray]]) -> None:
    """Error per action (mm), one bar a (name, values (A,)): Table 1 as a picture."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(max(6.0, 0.62 * len(actions) + 2), 3.2), layout="constrained")
    width = 0.8 / len(series)
    for index, (name, values) in enumerate(series):
        axes.bar(np.arange(len(actions)) + (index - (len(series) - 1) / 2) * width, values, width, label=name,
                 color=PALETTE[index % len(PALETTE)])  # fmt: skip
    axes.set_xticks(np.arange(len(actions)), actions, rotation=40, ha="right")
    axes.set_ylabel("P1, mm")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(series))
    _save(figure, path)


def charts_figure(path: Path, charts: Sequence[Any], columns: int = 2) -> None:
    """The page's line charts (`langpose.report.Chart`) as one picture, for readers of the folder."""
    pyplot = _pyplot()
    rows = -(-len(charts) // columns)
    figure, panels = pyplot.subplots(
        rows, min(columns, len(charts)), figsize=(5.0 * min(columns, len(charts)), 3.1 * rows + 0.5),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    names = list(dict.fromkeys(line.name for chart in charts for line in chart.lines))
    for axes, chart in zip(panels.flat, charts, strict=False):
        for line in chart.lines:
            colour = PALETTE[names.index(line.name) % len(PALETTE)]
            axes.plot(line.x, line.y, color=colour, linewidth=1.4, marker="o", markersize=2.5)
            if line.low is not None:
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
        axes.set(title=chart.title, xlabel=chart.xlabel, ylabel=chart.ylabel)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels.flat[len(charts) :]:
        axes.axis("off")
    handles = [pyplot.Line2D([], [], color=PALETTE[i % len(PALETTE)], label=name) for i, name in enumerate(names)]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    _save(figure, path)


def imbalance(counts: pd.DataFrame) -> dict[str, dict[str, float]]:
    """How unevenly pairs are spread over labels (table of `langpose.pairs.label_counts`): all, actions, transitions.

    Each has ``pairs``, ``labels``, ``top1`` and ``top10`` (% of its pairs that its most frequent label, its ten most
    frequent ones have), ``half`` (the fewest labels that have half of its pairs) and ``once`` (labels of one pair). A
    kind without labels is left out.
    """
    numbers = {}
    for name, chosen in (
        ("all", counts),
        ("actions", counts[counts["kind"] == "action"]),
        ("transitions", counts[counts["kind"] == "transition"]),
    ):
        if len(chosen):
            n = np.sort(chosen["pairs"].to_numpy())[::-1]
            numbers[name] = {
                "pairs": int(n.sum()),
                "labels": len(n),
                "top1": float(100 * n[0] / n.sum()),
                "top10": float(100 * n[:10].sum() / n.sum()),
                "half": int(np.searchsorted(n.cumsum(), n.sum() / 2)) + 1,
                "once": int((n == 1).sum()),
            }
    return numbers


def shortened(text: str, length: int = 60) -> str:
    """``text`` on one line of at most ``length`` characters, an ellipsis where it was cut."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def labels_figure(path: Path, counts: pd.DataFrame, bars: int = 20) -> str:
    """How often each label occurs: every label by its rank (left), the most frequent actions by name (right).

    ``counts`` is the table of `langpose.pairs.label_counts`. Returns the numbers written above the picture.
    """
    pyplot = _pyplot()
    whole = imbalance(counts)["all"]
    line = (
        f"Pairs: {whole['pairs']:,}; different labels: {whole['labels']:,}; the ten most frequent have "
        f"{whole['top10']:.1f} % of the pairs; labels that occur once: {whole['once']:,}"
    )
    ordered = counts.sort_values(["pairs", "label"], ascending=[False, True], kind="stable")
    series = [(kind, ordered[ordered["kind"] == kind]) for kind in ("action", "transition")]
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(10.4, 4.8), layout="constrained", gridspec_kw={"width_ratios": [1.25, 1]}
    )
    figure.suptitle(line, fontsize=10)

    # dark and light, so that they differ in grey too
    for (kind, rows), colour, marker in zip(series, (PALETTE[4], PALETTE[6]), "o^", strict=True):
        if len(rows):
            left.plot(np.arange(1, len(rows) + 1), rows["pairs"], color=colour, linewidth=0.8, marker=marker,
                      markersize=3, markeredgewidth=0, label=f"{kind}s ({len(rows):,})")  # fmt: skip
    most = max(len(rows) for _, rows in series)
    left.set(xscale="log", yscale="log", xlim=(0.8, max(10, 1.3 * most)), ylim=(0.8, max(10, 1.4 * counts.pairs.max())))
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter("{x:,.0f}")
        axis.set_minor_formatter("")
    left.set(xlabel="rank of the label among its kind", ylabel="pairs of the label")
    left.grid(color="#e4e6ea", linewidth=0.6)
    left.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)

    top = series[0][1].head(bars)
    places = np.arange(len(top))
    right.barh(places, top["pairs"], color=PALETTE[4], height=0.7)
    right.set_yticks(places, [shortened(text) for text in top["label"]], fontsize=7, parse_math=False)
    for place, number in zip(places, top["pairs"], strict=True):
        right.text(number, place, f" {number:,} ({100 * number / whole['pairs']:.1f} %)", va="center", fontsize=7)
    # few bars stay as thin as many: they fill the upper part
    right.set(xlim=(0, 1.35 * max(top["pairs"], default=1)), ylim=(max(len(top), 8) - 0.4, -0.6), xticks=[])
    right.tick_params(left=False)
    right.spines["bottom"].set_visible(False)
    right.spines["left"].set_visible(len(top) > 0)
    right.set_title("Most frequent actions" if len(top) else "No actions", loc="right")
    right.set_xlabel("pairs (share of all pairs)")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)
    return line
