"""Tables beyond the paper's and the report's first lines: numbers recomputed by hand, words that follow from them."""

import numpy as np
import pandas as pd
import pytest

from langpose import findings, listings
from langpose.robustness import parse


def difference(value, low, high, measure="P1_mm", dataset="human36m", against="baseline", **changes):
    row = {"dataset": dataset, "variant": "mmm_map", "against": against, "measure": measure, "value": value,
           "relative": value, "seed_std": 0.4, "low": low + 0.5, "high": high - 0.5, "low_seeds": low,
           "high_seeds": high, "recordings": 10, "seeds": 3, "certain": low > 0 or high < 0}  # fmt: skip
    return {**row, **changes}


MORE = {"against": "base_more"}
OTHER = {"dataset": "mpi_inf_3dhp", "against": "base_more"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [difference(-3.0, -5.0, -1.0, **MORE)],
            "Does language help? Yes, on every set, against a baseline trained for",
        ),
        ([difference(-3.0, -5.0, 1.0, **MORE)], "Does language help? Not measurably, against a baseline trained for"),
        ([difference(3.0, 1.0, 5.0, **MORE)], "Does language help? No, it is worse, against"),
        ([difference(-3.0, -5.0, -1.0, **MORE), difference(0.0, -1.0, 1.0, **OTHER)], "On 1 of 2 sets"),
        ([difference(-3.0, -5.0, -1.0, **MORE), difference(2.0, 1.0, 3.0, **OTHER)], "Better on 1, worse on 1 of 2"),
    ],
)
def test_the_first_line_says_what_the_intervals_say(rows, words):
    line = findings.answer(pd.DataFrame(rows), "mmm_map", [])[0]
    assert words in line
    assert f"Human3.6M P1 {rows[0]['value']:+.1f} mm" in line


def test_more_training_is_not_taken_for_language():
    rows = [difference(-3.0, -5.0, -1.0), difference(2.0, 1.0, 3.0, **MORE)]
    lines = findings.answer(pd.DataFrame(rows), "mmm_map", [])
    assert lines[0].startswith("Does language help? No, it is worse, against a baseline trained for as many steps")
    assert lines[1] == "Against the paper's baseline: Human3.6M P1 -3.0 mm (-3.0 %) [-5.0, -1.0]."
    alone = findings.answer(pd.DataFrame(rows[:1]), "mmm_map", [])
    assert "against the paper's baseline" in alone[0]
    assert "what more training does, this grid cannot tell" in alone[1]


def test_the_first_lines_name_the_occlusions_and_how_sure():
    rows = [
        difference(0.5, -1.0, 2.0, **MORE),
        difference(0.5, -1.0, 2.0, "P3_mm", recordings=4, **MORE),
        difference(-20.0, -30.0, -10.0, "occlusion:body_part:legs", **MORE),
        difference(-2.0, -9.0, 5.0, "occlusion:window:0.3", **MORE),
        difference(-9.0, -10.0, -8.0, "occlusion:frames:0.3", **MORE),  # not declared
        difference(-9.0, -10.0, -8.0, "occlusion:window:0.3"),  # of the other baseline
    ]
    lines = findings.answer(pd.DataFrame(rows), "mmm_map", ["body_part:legs", "window:0.3"])
    assert "1 of 2 declared measures differ beyond recordings and seeds: Human3.6M, legs hidden: -20.0 mm" in lines[1]
    assert "10 recordings a data set, 3 seeds" in lines[2]
    assert findings.answer(pd.DataFrame(rows), "mmm", []) == []


def test_a_single_seed_is_called_a_check():
    rows = [difference(-3.0, -5.0, -1.0, seeds=1), difference(-3.0, -5.0, -1.0, "occlusion:window:0.3", seeds=1)]
    lines = findings.answer(pd.DataFrame(rows), "mmm_map", ["window:0.3"])
    assert "Does language help? One seed cannot tell, against" in lines[0]
    assert "differ by more than the choice of recordings explains" in lines[2]
    assert "one seed: a check of the pipeline only" in lines[-1]


def test_differences_are_shown_with_both_intervals_and_which_exclude_zero():
    one = {"seeds": 1, "seed_std": np.nan, "low_seeds": np.nan, "high_seeds": np.nan}
    rows = [difference(-3.0, -5.0, -1.0), difference(-2.0, -9.0, 5.0, "occlusion:window:0.3"),
            difference(-2.0, -3.5, -0.5, "P2_mm", **one)]  # fmt: skip
    table = listings.differences_table(pd.DataFrame(rows), "mmm_map", ["P1_mm", "P2_mm", "occlusion:window:0.3"])
    assert table.blocks[0].rows[0] == [
        "Human3.6M: P1", "Baseline", "-3.0", "-3.0", "0.4", "[-4.5, -1.5]", "[-5.0, -1.0]", "yes",
    ]  # fmt: skip
    assert table.blocks[0].rows[1][0] == "Human3.6M: 30 % in one window hidden"
    assert table.blocks[0].rows[2][4:7] == ["—", "[-3.0, -1.0]", "—"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [("none", "nothing hidden"), ("body_part:upper_body", "upper body hidden"),
     ("joints:0.3", "30 % of the joints hidden"), ("frames:0.5", "50 % of the frames hidden"),
     ("noise:2", "detector noise × 2"), ("self:0.5", "self-occluded joints hidden")],
)  # fmt: skip
def test_occlusions_are_named_in_words(kind, words):
    parse(kind)
    assert listings.occlusion_name(kind) == words


def scores():
    rng = np.random.default_rng(0)
    rows = []
    for variant in ("baseline", "mmm_map"):
        for seed in (0, 1):
            for dataset in ("human36m", "mpi_inf_3dhp"):
                metrics = ["occlusion:none", "occlusion:joints:0.3", "velocity_mm", "acceleration_mm"]
                if dataset == "human36m":
                    metrics += ["action:Walk", "action:Sit", "action:Wave", "joint:head"]
                rows += [(dataset, variant, seed, m, rng.uniform(10, 90)) for m in metrics]
    return pd.DataFrame(rows, columns=["dataset", "variant", "seed", "metric", "value"])


def test_occlusion_has_a_table_a_data_set_and_a_row_a_kind():
    table = scores()
    tables = listings.occlusion_tables(table, ["baseline", "mmm_map"])
    assert [t.name for t in tables] == ["occlusion_human36m", "occlusion_mpi_inf_3dhp"]
    assert [row[0] for row in tables[0].blocks[0].rows] == ["nothing hidden", "30 % of the joints hidden"]
    chosen = table[(table.dataset == "human36m") & (table.variant == "baseline") & (table.metric == "occlusion:none")]
    values = chosen["value"].to_numpy()
    assert tables[0].blocks[0].rows[0][1] == f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"


def test_visibility_stands_beside_the_error_with_their_rank_correlation():
    table = scores()
    visibility = pd.DataFrame({
        "action": ["Sit", "Wave", "Walk"], "frames": [100, 50, 80], "visibility": [0.7, 0.8, 0.9],
        "hidden": [30.0, 20.0, 10.0], "confidence": [0.5, np.nan, 0.7], "recordings": [4, 2, 4],
    })  # fmt: skip
    shown = listings.visibility_table(visibility, table, ["Sit"])
    assert shown.blocks[0].rows[0][:6] == ["Sit (P3)", "4", "100", "0.700", "30.0", "0.500"]
    assert shown.blocks[0].rows[1][5] == "—"
    baseline = table[table.variant == "baseline"].groupby("metric")["value"].mean()
    errors = [baseline[f"action:{name}"] for name in ("Sit", "Wave", "Walk")]
    order = np.argsort(np.argsort(errors))
    expected = np.corrcoef([0, 1, 2], order)[0, 1]
    assert f"3 actions: {expected:+.2f}" in shown.notes[1]


def test_pretrained_scores_have_a_row_each_and_a_dash_where_a_variant_lacks_one():
    rows = [("embed", "baseline", 0, "knn5/top1", 40.0), ("embed", "mmm_map", 0, "knn5/top1", 50.0),
            ("embed", "mmm_map", 0, "t2m/R01", 5.0), ("complete", "mmm_map", 0, "completion/0.2/model_mm", 33.0),
            ("complete", "mmm_map", 0, "clips", 9.0)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["dataset", "variant", "seed", "metric", "value"])
    shown = listings.embedding_table(table, ["baseline", "mmm_map"])
    assert shown.blocks[0].rows == [["knn5/top1", "40.0", "50.0"], ["t2m/R01", "—", "5.0"]]
    shown = listings.completion_table(table, ["baseline", "mmm_map"])
    assert shown.blocks[0].rows == [["completion, 20 % of the clip: model", "—", "33.0"]]
