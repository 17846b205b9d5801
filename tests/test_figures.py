"""The picture of label counts: its numbers against slow counts, and every shape of table it must take."""

import base64
import csv
import io
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from langpose.pairs import label_counts

pytest.importorskip("matplotlib")

from langpose import figures, listings
from langpose.report import Page, write_page
from pipeline import pictures
from pipeline.stages import report


def pairs(actions, transitions=()):
    """One row a pair, as stage `pair` makes them, less what counting does not read."""
    rows = [(label, "action") for label in actions] + [(label, "transition") for label in transitions]
    return pd.DataFrame(rows, columns=["label", "kind"])


def zipf(actions, transitions=0):
    """A table of counts with as many labels of each kind."""
    rows = [(f"label {n}", "action", max(1, 900 // n)) for n in range(1, actions + 1)]
    rows += [(f"transit from {n} to {n + 1}", "transition", max(1, 90 // n)) for n in range(1, transitions + 1)]
    return pd.DataFrame(rows, columns=["label", "kind", "pairs"])


def slow(labels):
    """pairs, labels, top1, top10, half, once; one label at a time."""
    counts = sorted(Counter(labels).values(), reverse=True)
    total, reached, half = len(labels), 0, 0
    while 2 * reached < total:
        reached += counts[half]
        half += 1
    top = [100 * sum(counts[:k]) / total for k in (1, 10)]
    return {"pairs": total, "labels": len(counts), "top1": pytest.approx(top[0]), "top10": pytest.approx(top[1]),
            "half": half, "once": sum(1 for n in counts if n == 1)}  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_the_numbers_equal_a_slow_count(seed, tmp_path):
    rng = np.random.default_rng(seed)
    actions = [f"action {n}" for n in rng.zipf(1.6, size=80) if n < 500]
    transitions = [f"transit from {a} to {b}" for a, b in rng.integers(0, 4, (30, 2))]
    counts = label_counts(pairs(actions, transitions))
    expected = {"all": slow(actions + transitions), "actions": slow(actions), "transitions": slow(transitions)}
    assert figures.imbalance(counts) == expected
    whole = expected["all"]
    line = figures.labels_figure(tmp_path / "labels.png", counts)
    share = 100 * sum(n for _, n in Counter(actions + transitions).most_common(10)) / whole["pairs"]
    assert line == (
        f"Pairs: {whole['pairs']}; different labels: {whole['labels']}; the ten most frequent have {share:.1f} % of "
        f"the pairs; labels that occur once: {whole['once']}"
    )
    rows = list(csv.reader(io.StringIO(listings.labels_table(counts, "demo").to_csv())))[1:]
    assert [row[1] for row in rows] == ["all", "actions", "transitions"]
    assert rows[0][2:4] == [str(whole["pairs"]), str(whole["labels"])]
    assert rows[0][5:] == [f"{share:.1f}", str(whole["half"]), str(whole["once"])]


@pytest.mark.parametrize(
    "counts",
    [zipf(1), zipf(7), zipf(30, 1), zipf(0, 5), zipf(12_000, 8_000), zipf(40, 20).assign(pairs=3)],
    ids=["one label", "no transitions", "one transition", "no actions", "20,000 labels", "balanced"],
)
def test_the_picture_takes_every_shape_of_table(counts, tmp_path):
    assert f"different labels: {len(counts):,};" in figures.labels_figure(tmp_path / "labels.png", counts)
    assert (tmp_path / "labels.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_counts_give_the_same_bytes_in_any_order_of_rows(tmp_path):
    counts = zipf(50, 20)
    figures.labels_figure(tmp_path / "a.png", counts)
    figures.labels_figure(tmp_path / "b.png", counts.iloc[::-1])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_texts_are_drawn_as_they_stand_and_long_ones_end_in_an_ellipsis(tmp_path):
    counts = zipf(3).assign(label=["costs $5 or $6_a^b", "w" * 300, "a\nb % & \\frac{1}"])
    figures.labels_figure(tmp_path / "labels.png", counts)  # a dollar starts no formula
    assert figures.shortened("w" * 60) == "w" * 60
    assert figures.shortened("w" * 61) == "w" * 59 + "…"
    assert figures.shortened(" bend\n knee ") == "bend knee"


def test_a_label_that_reads_null_is_a_label(tmp_path):
    counts = label_counts(pairs(["none", "null", "NA", "nan", "1", "1"]))
    counts.to_csv(tmp_path / "labels.csv", index=False, lineterminator="\n")
    read = report.read_labels(tmp_path / "labels.csv")
    assert list(read["label"]) == list(counts["label"]) and list(read["pairs"]) == list(counts["pairs"])


def test_the_page_shows_the_picture_with_its_numbers(tmp_path):
    counts = zipf(30, 5)
    figure = pictures.labels_picture(tmp_path, counts, "demo")
    table = listings.labels_table(counts, "demo")
    page = Page("title", "lead", "", [], {}, "", [], figures=[figure], listings=[table])
    write_page(tmp_path, page)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'alt="How often each label occurs"' in page
    assert base64.b64encode((tmp_path / "labels.png").read_bytes()).decode() in page
    assert f"Pairs: {counts.pairs.sum():,}; different labels: 35;" in page
    assert "How unbalanced the labels are" in page and "data/demo/pairs/labels.csv" in page
