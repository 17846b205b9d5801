"""Four steps of fine-tuning, stopped in the middle, continued, saved, read back and evaluated: the same scores."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch

from langpose import LangPose, LangPoseConfig
from langpose.evaluation import Scores, evaluate_human36m
from langpose.lifting_sets import LiftingClips, convert_human36m
from langpose.model.pose_encoder import PoseEncoderConfig
from langpose.tasks import LossWeights, ReconstructionTask
from langpose.training import Preempted, TrainingConfig, train
from tests.lifting_files import human36m_content, write_human36m

CLIP_LEN = 27
CONFIG = TrainingConfig(
    epochs=2, steps_per_epoch=2, batch_size=2, learning_rate=1e-3, validate_every=2, threads=1, keep="last"
)


@pytest.fixture(scope="module")
def lifting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("human36m")
    convert_human36m(write_human36m(human36m_content(), folder / "h36m.pkl"), folder / "lifting")
    return folder / "lifting"


class Stopped(LiftingClips):
    """Clips before whose third step SIGTERM comes."""

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def scores(lifting: Path, work: Path, stop: bool) -> tuple[pd.DataFrame, Scores]:
    """Fine-tune, in two sittings if ``stop``, then save, load and evaluate as the stages do."""
    pose = PoseEncoderConfig(dim_feat=8, dim_rep=8, depth=2, num_heads=2, maxlen=CLIP_LEN)
    for kind in (Stopped, LiftingClips) if stop else (LiftingClips,):
        model = LangPose(LangPoseConfig(pose, text=None), seed=3)
        clips = kind(lifting, "train", CLIP_LEN, 9, seed=0)
        task = ReconstructionTask(model.pose_encoder, clips, None, LossWeights(), 1.0, 1)
        try:
            history = train(task, CONFIG, 0, work / "checkpoints", {"stage": "finetune"}, progress=False)
        except Preempted:
            assert kind is Stopped
    model.save_pretrained(work / "model")
    loaded = LangPose.from_pretrained(work / "model")
    with torch.inference_mode():
        return history, evaluate_human36m(loaded.pose_encoder, lifting, clip_len=CLIP_LEN, blocked=False)


def test_a_stopped_and_continued_training_gives_the_scores_of_an_undisturbed_one(lifting, tmp_path):
    history, whole = scores(lifting, tmp_path / "whole", stop=False)
    resumed_history, resumed = scores(lifting, tmp_path / "resumed", stop=True)
    assert history["step"].tolist() == [2, 4]
    pd.testing.assert_frame_equal(resumed_history, history, check_exact=True)
    assert resumed.summary() == whole.summary()
    assert {"p1_mm", "p2_mm"} <= whole.summary().keys()
