import json
import os
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from langpose import LangPose, LangPoseConfig, losses
from langpose.model import pose_encoder as module
from langpose.model.motionbert import load_checkpoint, start_from
from langpose.model.pose_encoder import PoseEncoder, PoseEncoderConfig

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = ("dstformer_a", "dstformer_fused")
TOLERANCE = 1e-5  # float32 against float64 differs by 7e-7 in the reference itself


def read(name):
    return {key: torch.from_numpy(value) for key, value in np.load(FIXTURES / f"{name}.npz").items()}


def motionbert(name, **changes):
    """(encoder with the reference's weights, its inputs and outputs)."""
    config = json.loads((FIXTURES / f"{name}.json").read_text())["cfg"]
    return load_checkpoint(read(f"{name}_state"), {**config, **changes}), read(f"{name}_io")


def total_loss(pred, gt):
    return losses.reconstruction_loss(pred, gt) + 0.5 * losses.n_mpjpe_loss(pred, gt)


@pytest.fixture(params=["plain attention", "fused attention"])
def kernel(request, monkeypatch):
    monkeypatch.setattr(module, "_SDPA_MIN_LENGTH", 1 if request.param == "fused attention" else 10**9)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_motionberts_without_the_token(name, kernel):
    encoder, io = motionbert(name)
    joints, named, representation = encoder.features(io["x"])
    assert (joints - io["out"]).abs().max() < TOLERANCE
    assert (representation - io["rep"]).abs().max() < TOLERANCE
    assert torch.equal(encoder(io["x"]), joints)
    for key in (k for k in io if k.startswith("inter/")):
        ours = named[key.removeprefix("inter/")]
        assert (ours.reshape(io[key].shape) - io[key]).abs().max() < TOLERANCE, key


@pytest.mark.parametrize("name", NAMES)
def test_outputs_in_double_precision_equal_motionberts(name):
    encoder, io = motionbert(name)
    joints, _, representation = encoder.double().features(io["x"].double())
    assert (joints - io["out64"]).abs().max() < 1e-10
    assert (representation - io["rep64"]).abs().max() < 1e-10


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_three_optimiser_steps_equal_motionberts(name, kernel, lean, monkeypatch):
    monkeypatch.setattr(module, "_LEAN_MIN_WIDTH", 1 if lean else 10**9)
    encoder, io = motionbert(name)
    expected = read(f"{name}_grads")
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=2e-4, weight_decay=0.01)
    for step in range(3):
        optimiser.zero_grad()
        loss = total_loss(encoder(io["x"]), io["gt"])
        loss.backward()
        assert abs(loss.item() - float(io["loss_adamw_steps"][step])) < TOLERANCE * loss.item()
        if step == 0:
            assert set(expected) == {n for n, _ in encoder.named_parameters()}
            for tensor, parameter in encoder.named_parameters():
                assert (parameter.grad - expected[tensor]).abs().max() < TOLERANCE, tensor
        optimiser.step()
    assert (encoder(io["x"]) - io["out_after_3_adamw"]).abs().max() < TOLERANCE


@pytest.mark.parametrize("size, changes", [("base", {}), ("lite", {"dim_feat": 256, "mlp_ratio": 4})])
def test_tensors_and_initial_weights_are_motionberts(size, changes):
    expected = json.loads((FIXTURES / "dstformer_base_keys_init.json").read_text())[size]
    encoder = PoseEncoder(PoseEncoderConfig(pose_token=False, **changes))
    assert sum(p.numel() for p in encoder.parameters()) == expected["n_params"]
    state, at_the_cut = encoder.state_dict(), 0
    assert {n: list(t.shape) for n, t in state.items()} == {n: v["shape"] for n, v in expected["tensors"].items()}
    for name, tensor in state.items():
        reference, n = expected["tensors"][name], tensor.numel()
        random = 0.02 * (reference["std"] > 0)
        assert abs(float(tensor.mean()) - reference["mean"]) <= 7 * random / n**0.5, name  # 5 sigma of the difference
        ours, theirs = float(tensor.var(correction=0)), reference["std"] ** 2
        outliers = round((theirs - random**2) * n / 4) if n > 10**5 else 0  # weights of ±2, see `initialise`
        at_the_cut += outliers
        assert abs(ours + outliers * 4 / n - theirs) <= 10 * random**2 / n**0.5, name
        assert tensor.abs().max() < 0.2 or not random, name
    assert at_the_cut == {"base": 4, "lite": 0}[size]  # one in 2^24 draws


def test_the_token_adds_exactly_its_own_two_tensors():
    plain = PoseEncoderConfig(dim_feat=8, dim_rep=8, depth=1, num_heads=2, maxlen=9, pose_token=False)
    without = PoseEncoder(plain)
    with_token = PoseEncoder(replace(plain, pose_token=True))
    extra = set(with_token.state_dict()) - set(without.state_dict())
    assert extra == {"pose_token", "pose_token_embed"} == set(with_token.token_names)
    base = PoseEncoderConfig()
    assert 42_466_317 + 17 * base.dim_feat + base.dim_feat == sum(
        p.numel() for p in PoseEncoder(base, None).parameters()
    )


def test_motionberts_weights_load_unchanged_beside_the_token_which_is_reported_as_new(caplog):
    with caplog.at_level("INFO", logger="langpose.model.motionbert"):
        encoder, io = motionbert("dstformer_fused", pose_token=True)
    assert encoder.new_tensors == ("pose_token", "pose_token_embed")
    assert "pose_token_embed" in caplog.text
    for name, tensor in read("dstformer_fused_state").items():
        assert torch.equal(encoder.state_dict()[name], tensor)
    joints, named, representation = encoder.features(io["x"])
    assert joints.shape == io["out"].shape  # all 27 slots are frames, the token's step is its own
    assert representation.shape == io["rep"].shape
    assert [named[f"token.{i}"].shape for i in range(3)] == [(2, 17, 32)] * 3
    assert not torch.allclose(joints, io["out"], atol=1e-3)  # frames attend to the token


def test_with_the_token_a_loaded_encoder_starts_close_to_motionberts():
    """The token starts as a frame whose joints are all hidden. It moves what the fixture's untrained weights give by
    4.5 % of its spread, a trained model's joints by 1.3 mm where its error is 100 mm (reports/LOG.md)."""
    encoder, io = motionbert("dstformer_fused", pose_token=True)
    hidden = encoder.joints_embed(torch.zeros(1, 1, 17, 3)) + encoder.temp_embed.mean(1, keepdim=True)
    torch.testing.assert_close(encoder.pose_token + encoder.pose_token_embed, hidden)

    moved = (encoder(io["x"]).detach() - io["out"]).square().mean().sqrt() / io["out"].std()
    assert 0.001 < moved < 0.05


def test_half_a_token_is_no_token():
    state = {**read("dstformer_fused_state"), "pose_token": torch.zeros(1, 1, 17, 32)}
    config = json.loads((FIXTURES / "dstformer_fused.json").read_text())["cfg"]
    with pytest.raises(ValueError, match="missing: pose_token_embed"):
        load_checkpoint(state, {**config, "pose_token": True})


@pytest.mark.parametrize("changes", [{}, {"dim_feat": 256, "mlp_ratio": 4}], ids=["base", "lite"])
def test_released_sizes_load(changes):
    config = PoseEncoderConfig(**changes)
    released = PoseEncoder(replace(config, pose_token=False), seed=3).state_dict()
    encoder = load_checkpoint({"model_pos": {f"module.{name}": value for name, value in released.items()}}, config)
    assert all(torch.equal(encoder.state_dict()[name], value) for name, value in released.items())
    assert encoder.new_tensors == ("pose_token", "pose_token_embed")


def test_motionberts_weights_in_a_langpose_leave_token_and_pooling_new():
    state = read("dstformer_fused_state")
    encoder, _ = motionbert("dstformer_fused", pose_token=True)
    model = LangPose(LangPoseConfig(encoder.config, text=None))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    new = start_from(model, state)
    assert new == (
        "pose_encoder.pose_token", "pose_encoder.pose_token_embed", "joint_weight",
        "pose_pool.0.weight", "pose_pool.0.bias", "pose_pool.2.weight", "pose_pool.2.bias",
    )  # fmt: skip
    for name, value in model.state_dict().items():
        if name in new:
            assert name.startswith("pose_encoder.") or torch.equal(value, before[name])
        else:
            assert torch.equal(value, state[name.removeprefix("pose_encoder.")])


def test_a_frame_is_moved_by_the_token_only_through_attention_over_time():
    """With one frame and the token, removing the temporal attention must give back the encoder without token."""
    config = PoseEncoderConfig(dim_feat=8, dim_rep=8, depth=2, num_heads=2, maxlen=3)
    with_token, without = PoseEncoder(config), PoseEncoder(replace(config, pose_token=False))
    without.load_state_dict({k: v for k, v in with_token.state_dict().items() if k in without.state_dict()})
    x = torch.randn(2, 3, 17, 3, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(with_token(x), without(x))
    for encoder in (with_token, without):
        for block in [*encoder.blocks_st, *encoder.blocks_ts]:
            torch.nn.init.zeros_(block.attn_t.proj.weight)
    assert torch.allclose(with_token(x), without(x), atol=1e-6)


def test_token_of_the_middle_layer_is_the_global_pose():
    for depth, middle in [(1, 1), (2, 1), (3, 2), (5, 3)]:
        assert PoseEncoderConfig(depth=depth).l1 == middle
    config = PoseEncoderConfig(dim_feat=8, dim_rep=8, depth=3, num_heads=2, maxlen=5, token_layer=1)
    encoder = PoseEncoder(config)
    x = torch.randn(2, 5, 17, 3, generator=torch.Generator().manual_seed(1))
    _, named, _ = encoder.features(x)
    _, token = encoder.encode(x)
    assert torch.equal(token, named["token.1"])
    start = encoder.pose_token + encoder.pos_embed + encoder.pose_token_embed
    assert torch.equal(named["token.0"][1], start[0, 0])


def test_weights_are_a_function_of_the_seed_and_leave_torchs_generator_alone():
    config = PoseEncoderConfig(dim_feat=8, dim_rep=8, depth=1, num_heads=2, maxlen=4)
    before = torch.get_rng_state()
    a, b, c = (
        PoseEncoder(config, 3).state_dict(),
        PoseEncoder(config, 3).state_dict(),
        PoseEncoder(config, 4).state_dict(),
    )
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert not torch.equal(a["pos_embed"], c["pos_embed"])


def test_both_attention_kernels_agree_and_bfloat16_on_a_cpu_takes_the_plain_one(monkeypatch):
    q, k, v = torch.randn(3, 2, 2, 70, 4, generator=torch.Generator().manual_seed(2))
    fused = module.attend(q, k, v)
    monkeypatch.setattr(module, "_SDPA_MIN_LENGTH", 100)
    assert torch.allclose(module.attend(q, k, v), fused, atol=1e-6)
    monkeypatch.setattr(module, "_SDPA_MIN_LENGTH", 1)
    monkeypatch.setattr(module.F, "scaled_dot_product_attention", None)
    assert module.attend(q.bfloat16(), k.bfloat16(), v.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("keys", [2, 17, 28, 63])
def test_softmax_in_bfloat16_equals_torchs_up_to_its_last_bit(keys):
    x, gradient = torch.randn(2, 50, keys, generator=torch.Generator().manual_seed(keys)).bfloat16()
    x.requires_grad_()
    ours, theirs = module._WideSoftmax.apply(x), x.softmax(-1)
    torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=0)
    ours, theirs = (torch.autograd.grad(weights, x, gradient)[0] for weights in (ours, theirs))
    torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=1e-3)


def kept_and_gradients(monkeypatch, lean, checkpoint_layers, bf16, att_fuse=True):
    """Bytes that a forward pass leaves for the gradient, and (output, every parameter's gradient)."""
    monkeypatch.setattr(module, "_LEAN_MIN_WIDTH", 1 if lean else 10**9)
    config = PoseEncoderConfig(dim_feat=16, dim_rep=16, depth=2, num_heads=2, maxlen=9, att_fuse=att_fuse, init_std=0.2)
    encoder = PoseEncoder(config)
    encoder.checkpoint_layers = checkpoint_layers
    x = torch.randn(2, 9, 17, 3, generator=torch.Generator().manual_seed(4))
    own = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes() * (storage.data_ptr() not in own)
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        out = encoder(x)
    out.square().sum().backward()
    return sum(kept.values()), [out, *(parameter.grad for parameter in encoder.parameters())]


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("att_fuse", [False, True])
def test_what_is_computed_again_leaves_every_gradient_as_it_was_bit_for_bit(monkeypatch, bf16, att_fuse):
    all_kept, expected = kept_and_gradients(monkeypatch, False, False, bf16, att_fuse)
    less_kept, lean = kept_and_gradients(monkeypatch, True, False, bf16, att_fuse)
    inputs_kept, checkpointed = kept_and_gradients(monkeypatch, True, True, bf16, att_fuse)
    assert less_kept < 0.8 * all_kept
    assert inputs_kept < 0.1 * all_kept
    for a, b, c in zip(expected, lean, checkpointed, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_checkpointed_layers_change_no_output_and_nothing_that_is_saved():
    encoder, io = motionbert("dstformer_fused", pose_token=True)
    joints, named, representation = encoder.features(io["x"])
    names = encoder.state_dict().keys()
    encoder.checkpoint_layers = True
    again, named_again, representation_again = encoder.features(io["x"])
    assert torch.equal(joints, again) and torch.equal(representation, representation_again)
    assert named.keys() == named_again.keys()
    assert all(torch.equal(named[name], named_again[name]) for name in named)
    gradients = [torch.autograd.grad(all["blocks_st.1"].sum(), encoder.pos_embed)[0] for all in (named, named_again)]
    assert torch.equal(*gradients)
    assert encoder.state_dict().keys() == names
    with torch.no_grad():
        assert torch.equal(encoder(io["x"]), joints)


def test_wrong_input_is_refused_with_what_was_expected():
    encoder = PoseEncoder(PoseEncoderConfig(dim_feat=8, dim_rep=8, depth=1, num_heads=2, maxlen=4))
    with pytest.raises(ValueError, match=r"\(B, T, 17, 3\).*found shape \(1, 4, 17, 2\)"):
        encoder(torch.zeros(1, 4, 17, 2))
    with pytest.raises(ValueError, match=r"5 frames.*1 to 4 \(maxlen\)"):
        encoder(torch.zeros(1, 5, 17, 3))
    with pytest.raises(ValueError, match="multiple of num_heads"):
        PoseEncoderConfig(dim_feat=10, num_heads=4)
    with pytest.raises(ValueError, match="between 1 and depth 2, found 3"):
        PoseEncoderConfig(depth=2, token_layer=3)


# Reading MotionBERT's files


def as_released(name):
    state = {f"module.{key}": value for key, value in read(f"{name}_state").items()}
    return {"epoch": 89, "lr": 0.0002, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "model_pos": state,
            "min_loss": np.float64(37.2)}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_a_released_file_loads_with_its_prefix_and_its_numpy_number(tmp_path, zipped):
    path = tmp_path / "latest_epoch.bin"
    torch.save(as_released("dstformer_fused"), path, _use_new_zipfile_serialization=zipped)
    config = json.loads((FIXTURES / "dstformer_fused.json").read_text())["cfg"]
    encoder, io = load_checkpoint(path, config), read("dstformer_fused_io")
    assert (encoder(io["x"]) - io["out"]).abs().max() < TOLERANCE
    assert encoder.new_tensors == ()


def test_the_configuration_file_of_motionbert_may_be_given_whole():
    cfg = json.loads((FIXTURES / "dstformer_fused.json").read_text())["cfg"]
    whole = {**cfg, "backbone": "DSTformer", "epochs": 90, "lambda_scale": 0.5, "data_root": "data/motion3d"}
    assert load_checkpoint(as_released("dstformer_fused"), whole).config.dim_feat == 32
    with pytest.raises(ValueError, match="backbone 'TCN'"):
        load_checkpoint(as_released("dstformer_fused"), {**whole, "backbone": "TCN"})
    with pytest.raises(ValueError, match="unknown parameter 'dim_feet'; did you mean 'dim_feat'"):
        load_checkpoint(as_released("dstformer_fused"), {**cfg, "dim_feet": 32})


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def forged_dtype(code):
    """A checkpoint whose number claims another numpy type."""

    class Forged:
        def __reduce__(self):
            return (np.dtype, (code, False, True))

    return Forged()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_checkpoint_is_refused_and_does_nothing(tmp_path, zipped):
    target, path = tmp_path / "written", tmp_path / "evil.bin"
    content = {**as_released("dstformer_fused"), "extra": Malicious(target)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"evil\.bin: refused, nothing of it was run.*`\w+\.mkdir`"):
        load_checkpoint(path, PoseEncoderConfig())
    assert not target.exists()
    with path.open("rb") as file:  # the trap is real: unguarded loading springs it
        torch.load(file, weights_only=False)
    assert target.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_plain_pickle_that_calls_a_function_is_refused(tmp_path, protocol):
    path, target = tmp_path / "evil.pth", tmp_path / "written"
    path.write_bytes(pickle.dumps({"model_pos": Malicious(target)}, protocol))
    with pytest.raises(ValueError, match=r"evil\.pth: refused"):
        load_checkpoint(path, PoseEncoderConfig())
    assert not target.exists()


DEEP = b"\x80\x02})" + b"\x85" * 1_000_000 + b"Ns."  # a million tuples in one another, as a dictionary's key
READ_ALL = """
import sys
from pathlib import Path
from langpose.model.motionbert import _read
for path in sys.argv[1:]:
    try:
        _read(Path(path))
    except ValueError as error:
        print(error)
"""


def test_a_million_levels_of_tuples_do_not_end_the_interpreter(tmp_path):
    files = []
    for member in ("a/data.pkl", "a/DATA.PKL"):  # torch looks at no letter's case
        files.append(tmp_path / f"{member[2:]}.bin")
        with zipfile.ZipFile(files[-1], "w") as archive:
            archive.writestr(member, DEEP)
            archive.writestr("a/version", "3\n")
    values = (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {"little_endian": True}, {})
    good = [pickle.dumps(value, 2) for value in values]
    for place in range(5):  # the legacy format: five pickles, then the storages
        files.append(tmp_path / f"legacy{place}.bin")
        files[-1].write_bytes(b"".join(good[:place]) + DEEP)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, *files], capture_output=True, text=True, cwd=Path(__file__).parents[1],
        timeout=120,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert done.returncode == 0 and len(said) == len(files), done.stderr[-500:]
    for file, line in zip(files, said, strict=True):
        assert line.startswith(f"{file}: refused, nothing of it was run") and "nests tuples" in line


@pytest.mark.parametrize("code", ["O8", "V8", "U4"])
def test_numpy_types_other_than_numbers_are_refused(tmp_path, code):
    path = tmp_path / "forged.bin"
    torch.save({"min_loss": forged_dtype(code)}, path)
    with pytest.raises(ValueError, match=r"forged\.bin: refused.*a numpy number of type '" + code):
        load_checkpoint(path, PoseEncoderConfig())


def test_missing_damaged_and_foreign_files_are_named(tmp_path):
    config = json.loads((FIXTURES / "dstformer_a.json").read_text())["cfg"]
    with pytest.raises(FileNotFoundError, match=r"none\.bin: there is no such file"):
        load_checkpoint(tmp_path / "none.bin", config)
    path = tmp_path / "cut.bin"
    torch.save(as_released("dstformer_a"), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cut\.bin: not a readable checkpoint"):
        load_checkpoint(path, config)
    torch.save({"model": {"backbone.head.weight": torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match="expected a checkpoint with 'model_pos'"):
        load_checkpoint(path, config)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no tensors")
    with pytest.raises(ValueError, match=r"cut\.bin: not a readable checkpoint"):
        load_checkpoint(path, config)


def test_weights_of_other_sizes_are_refused_by_tensor_name():
    config = json.loads((FIXTURES / "dstformer_fused.json").read_text())["cfg"]
    with pytest.raises(ValueError, match=r"temp_embed is \(1, 27, 1, 32\), expected \(1, 243, 1, 32\)"):
        load_checkpoint(read("dstformer_fused_state"), {**config, "maxlen": 243})
    with pytest.raises(ValueError, match=r"unknown: ts_attn\.0\.weight"):
        load_checkpoint(read("dstformer_fused_state"), {**config, "att_fuse": False})
    with pytest.raises(ValueError, match=r"missing: ts_attn\.0\.weight"):
        load_checkpoint(read("dstformer_a_state"), {**config, "att_fuse": True})
