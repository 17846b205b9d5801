"""The code that the documents show runs, as it is printed."""

import re
from pathlib import Path

import numpy as np
import pytest

from langpose import metrics
from langpose.sources import mpi_inf_3dhp
from tests.lifting_files import mpi_inf_3dhp_content, write_mpi_inf_3dhp

METRICS = Path(__file__).parents[1] / "docs" / "metrics.md"


def blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def test_the_metrics_document_scores_any_arrays():
    rng = np.random.default_rng(0)
    names = {"pred": rng.normal(size=(9, 17, 3)) * 40, "gt": rng.normal(size=(9, 17, 3)) * 40}
    raw = dict(names)
    exec(blocks(METRICS)[0], names)
    assert names["p1"] == pytest.approx(metrics.mpjpe(*(v - v[:, :1] for v in (raw["pred"], raw["gt"]))).mean())
    assert names["p2"] < names["p1"] and 0 < names["area"] < names["percent"] < 100


def test_the_metrics_document_scores_what_p_stmo_and_motionagformer_save(tmp_path, monkeypatch, capsys):
    scipy_io = pytest.importorskip("scipy.io")
    write_mpi_inf_3dhp(*mpi_inf_3dhp_content(), tmp_path)
    rng, saved, pred, gt = np.random.default_rng(1), {}, [], []
    for take in mpi_inf_3dhp.read_test(tmp_path / "data_test_3dhp.npz"):
        truth = take.joints_mm[take.valid] - take.joints_mm[take.valid][:, 14:15]
        guess = truth + rng.normal(size=truth.shape) * 80
        guess[:, 14] = 0
        saved[take.sequence] = guess.transpose(2, 1, 0)[:, :, None]  # as their evaluation lays it out
        pred.append(guess)
        gt.append(truth)
    scipy_io.savemat(tmp_path / "inference_data.mat", saved)
    monkeypatch.chdir(tmp_path)
    exec(blocks(METRICS)[1], {})
    pred, gt = np.concatenate(pred), np.concatenate(gt)
    last = capsys.readouterr().out.splitlines()[-1]
    expected = metrics.pck(pred, gt), metrics.auc(pred, gt), metrics.mpjpe(pred, gt).mean()
    assert last == "All PCK {:.2f}  AUC {:.2f}  MPJPE {:.2f}  frames {:.2f}".format(*expected, len(gt))
