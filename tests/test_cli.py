"""The command: what a user types, what is written, what is said of bad input, and that nothing is left behind then."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from langpose import LangPose, LangPoseConfig, cli, pose_files
from langpose.commands.info import shipped
from langpose.joint_maps import SKELETONS
from langpose.model.pose_encoder import PoseEncoderConfig
from tests.pages import walking
from tests.test_keypoint_files import alphapose, bad, openpose, poses

DETECTED = 60


def detections(path: Path, people: int = 1, frames: int = DETECTED, skeleton: str = "halpe26") -> Path:
    """AlphaPose's file of walkers, shuffled, with two frames missing and drop-outs."""
    rng = np.random.default_rng(0)
    rows = []
    for person in range(people):
        mm = walking(frames, 25.0)[..., :2]
        body = np.zeros((frames, SKELETONS[skeleton].number, 3))
        index = {name: i for i, name in enumerate(SKELETONS[skeleton].joints)}
        from langpose.skeleton import JOINTS

        for j, joint in enumerate(JOINTS):
            for name in SKELETONS[skeleton].makes[joint]:
                body[:, index[name], :2] = mm[:, j] / 4 + (600 + 500 * person, 500)
                body[:, index[name], 2] = 0.9
        body[10:14, index["left_wrist"]] = 0
        rows += [
            {
                "image_id": f"{frame}.jpg",
                "keypoints": body[frame].ravel().round(2).tolist(),
                "score": 3,
                "idx": person + 1,
            }
            for frame in range(frames)
            if frame not in (20, 21)
        ]
    path.write_text(json.dumps([rows[i] for i in rng.permutation(len(rows))]))
    return path


def run(capsys, *arguments):
    """(exit code, standard output, standard error)."""
    code = cli.main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_lift_with_the_model_that_is_here(tmp_path, capsys):
    source = detections(tmp_path / "alphapose-results.json", people=2)
    code, out, err = run(capsys, "lift", source, "-o", tmp_path / "out")
    assert (code, err) == (0, "") and out.strip() == str(tmp_path / "out" / "poses.npz")
    people, facts = pose_files.load(tmp_path / "out")
    assert [p.person for p in people] == [1, 2] and [len(p.frames) for p in people] == [60, 60]
    assert people[0].filled.nonzero()[0].tolist() == [20, 21]
    assert facts["unit"] == "px" and facts["input_skeleton"] == "halpe26" and facts["format"] == "AlphaPose"
    assert any("frames a second are not in the file: 30 is assumed" in note for note in facts["notes"])
    assert any("30 frames a second are brought to the model's 50" in note for note in facts["notes"])
    heights = [np.ptp(p.joints[..., 1], axis=1).mean() for p in people]
    assert 0.8 < heights[0] / heights[1] < 1.25 and 250 < heights[0] < 600, "a body of about 385 px"


def test_lift_in_metres_with_everything_written(tmp_path, capsys):
    source = detections(tmp_path / "poses.json")
    arguments = ["--scale", 1.8, "--fps", 25, "--export", "csv", "--export", "bvh", "--render", 
                 tmp_path / "out" / "a.gif", "--render", tmp_path / "out" / "a.html", "--json"]  # fmt: skip
    code, out, _ = run(capsys, "lift", source, "-o", tmp_path / "out", *arguments)
    assert code == 0 and json.loads(out)["unit"] == "m"
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "poses.npz", "poses.json", "poses.csv", "person1.bvh", "a.gif", "a.html",
    }  # fmt: skip
    people, facts = pose_files.load(tmp_path / "out")
    assert facts["fps"] == 25 and 0.9 < np.ptp(people[0].joints[..., 1], axis=1).mean() < 1.9


def test_a_person_and_a_folder_of_files(tmp_path, capsys):
    folder = openpose(tmp_path / "json", poses(25))
    assert run(capsys, "lift", folder, "-o", tmp_path / "a", "--person", "longest")[0] == 0
    source = detections(tmp_path / "poses.json", people=2)
    assert run(capsys, "lift", source, "-o", tmp_path / "b", "--person", 2)[0] == 0
    assert [p.person for p in pose_files.load(tmp_path / "b")[0]] == [2]


def test_stream_reads_and_writes_lines(tmp_path):
    points = np.ones((5, 17, 3))
    points[..., :2] = walking(5, 25.0)[..., :2] / 4 + 500
    lines = "".join(json.dumps({"frame": 3 * i, "keypoints": pose.tolist()}) + "\n" for i, pose in enumerate(points))
    command = [sys.executable, "-m", "langpose.cli", "lift", "-", "--stream", "--skeleton", "h36m17", "--fps", "25"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["frame"] for each in told] == [0, 3, 6, 9, 12] and np.shape(told[0]["joints"]) == (17, 3)
    done = subprocess.run(command, input='{"frame": 1}\n', capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "standard input, line 1: 'keypoints'" in done.stderr


def test_a_causal_file_says_its_latency(tmp_path, capsys):
    source = detections(tmp_path / "poses.json", frames=30)
    assert run(capsys, "lift", source, "-o", tmp_path / "out", "--stream")[0] == 0
    assert any("ms a frame" in note for note in pose_files.load(tmp_path / "out")[1]["notes"])


def test_label_search_and_complete_with_the_model_that_is_here(tmp_path, capsys):
    source = detections(tmp_path / "poses.json", frames=90)
    assert run(capsys, "lift", source, "-o", tmp_path / "out", "--fps", 30)[0] == 0
    code, out, _ = run(capsys, "label", tmp_path / "out")
    assert code == 0 and out.startswith("person 1  frames     0 to")
    code, out, _ = run(capsys, "label", source, "--top", 3, "--json")
    rows = json.loads(out)
    assert {row["rank"] for row in rows} == {1, 2, 3} and all(-1 <= row["score"] <= 1 for row in rows)
    word = rows[0]["label"]
    code, out, _ = run(capsys, "search", word, "--in", tmp_path, "--top", 2)
    assert code == 0 and 1 <= len(out.splitlines()) <= 2 and "person 1  frames" in out
    code, _, err = run(capsys, "search", "dance the polka", "--in", tmp_path)
    assert code == 1 and "this model is kept without its text stream and knows" in err
    assert run(capsys, "complete", source, "-o", tmp_path / "full", "--hide", 40, 45)[0] == 0
    people, facts = pose_files.load(tmp_path / "full")
    assert facts["hidden"] == [40, 45] and people[0].filled[40:46].all()


def test_info_says_what_the_shipped_model_is(capsys):
    code, out, _ = run(capsys, "info", "--json")
    told = json.loads(out)
    assert code == 0 and told["facts"]["fine-tuned on"] == "human36m" and told["facts"]["profile"] == "cmu"
    assert told["metrics"] and told["parameters"] > 10_000
    code, out, _ = run(capsys, "info")
    assert "fine-tuned on        human36m" in out


def test_the_shipped_models_are_small_and_have_their_cards():
    for folder in (shipped(), shipped().with_name("cmu-pretrained")):
        assert sum(file.stat().st_size for file in folder.iterdir()) < 5e6
        assert "CMU" in (folder / "README.md").read_text()


def test_doctor_finds_this_installation_well(capsys):
    code, out, _ = run(capsys, "doctor", "--json")
    notes = {note["about"]: note["state"] for note in json.loads(out)}
    assert notes["torch"] == notes["model"] == "well" and code == 0
    assert run(capsys, "doctor")[1].startswith("well     Python")


def test_convert_reads_the_sizes_off_the_weights(tmp_path, capsys):
    config = PoseEncoderConfig(dim_feat=32, dim_rep=24, depth=2, num_heads=4, maxlen=27, pose_token=False)
    from langpose.model.pose_encoder import PoseEncoder

    encoder = PoseEncoder(config, 0)
    save_file({f"module.{name}": value for name, value in encoder.state_dict().items()}, tmp_path / "mb.safetensors")
    code, _, _ = run(capsys, "convert", tmp_path / "mb.safetensors", "-o", tmp_path / "model", "--heads", 4)
    assert code == 0
    model = LangPose.from_pretrained(tmp_path / "model")
    pose = model.config.pose
    assert (pose.dim_feat, pose.dim_rep, pose.depth, pose.maxlen, pose.num_heads) == (32, 24, 2, 27, 4)
    np.testing.assert_array_equal(model.pose_encoder.head.weight.detach(), encoder.head.weight.detach())
    assert (
        run(capsys, "lift", detections(tmp_path / "p.json"), "-o", tmp_path / "o", "--model", tmp_path / "model")[0]
        == 0
    )
    code, _, err = run(capsys, "convert", tmp_path / "mb.safetensors", "-o", tmp_path / "model")
    assert code == 1 and "is there already" in err
    save_file({"a": encoder.head.weight.detach()}, tmp_path / "other.safetensors")
    code, _, err = run(capsys, "convert", tmp_path / "other.safetensors", "-o", tmp_path / "m2")
    assert code == 1 and "expected a pose network of MotionBERT" in err and not (tmp_path / "m2").exists()


def another_model(folder):
    pose = PoseEncoderConfig(dim_feat=16, dim_rep=16, depth=1, num_heads=2, maxlen=9)
    model = LangPose(LangPoseConfig(pose=pose, text=None))
    model.save_pretrained(
        folder, model_card_kwargs={"title": "", "facts": {"fine-tuned on": "panoptic"}, "metrics": {}}
    )
    return folder


FILES = [
    "missing", "empty", "half", "a list of nothing", "nobody", "another json", "another list", "unsure of all",
    "negative confidence", "shares", "two skeletons", "cut keypoints", "unknown count", "no number", "twice",
    "no keypoints", "text keypoints", "binary", "deep", "video", "suffix", "empty folder", "mixed folder", "words",
    "short labels", "npz of nothing", "npz of another shape", "npz with pickles", "npz of other frames",
    "npz of no zip", "csv without columns", "csv of words", "csv of unknown joints",
]  # fmt: skip
OPTIONS = [
    (["--skeleton", "body25"], "17 joints; skeleton body25 has 25"),
    (["--skeleton", "cocoo"], "no skeleton 'cocoo'; did you mean 'coco'?"),
    (["--person", "7"], "no person '7'; there are 1. Or: all, largest, longest"),
    (["--max-gap", "-1"], "--max-gap -1; expected 0 frames or more"),
    (["--scale", "178"], "--scale 178; expected the body's height in metres"),
    (["--fps", "0"], "--fps 0; expected frames a second"),
    (["--image-size", "0", "5"], "image size 0 x 5; expected width and height in pixels"),
    (["--framing", "image"], "framing 'image' needs the image's size"),
    (["--model", "no/model/here"], "is missing; a model folder holds config.json and model.safetensors"),
    (["--model", "ANOTHER"], "fine-tuned on 'panoptic'; known: human36m, mpi_inf_3dhp"),
    (["--render", "a.avi"], "rendered as .mp4, .gif, .html; not as '.avi'"),
    (["--render", "a.gif", "--video", "INPUT"], "cannot be read as a video"),
    (["--device", "warp"], "warp"),
]


@pytest.mark.parametrize("name", FILES)
def test_of_bad_files_the_message_is_one_line_and_nothing_is_written(tmp_path, capsys, name):
    source, more = bad(tmp_path, name)
    arguments = [] if "image_size" not in more else ["--image-size", *more["image_size"]]
    code, out, err = run(capsys, "lift", source, "-o", tmp_path / "out", *arguments)
    assert (code, out) == (1, "") and err.startswith("langpose: ") and "Traceback" not in err
    assert str(source.name) in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"), OPTIONS, ids=lambda value: " ".join(value) if type(value) is list else ""
)
def test_of_bad_options_too(tmp_path, capsys, options, message):
    source = alphapose(tmp_path / "poses.json", poses(17), tracks=[1] * 4)
    options = [
        str(source) if o == "INPUT" else str(another_model(tmp_path / "m")) if o == "ANOTHER" else o for o in options
    ]
    if "--video" in options:
        pytest.importorskip("av")
    code, out, err = run(capsys, "lift", source, "-o", tmp_path / "out", *options)
    assert (code, out) == (1, "") and message in err and not (tmp_path / "out").exists()


def test_further_mistakes(tmp_path, capsys):
    source = alphapose(tmp_path / "poses.json", poses(17))
    for arguments, message in [
        (["lift", source], "no folder for the results: -o OUT"),
        (["lift", source, "-o", source], "is a file; expected a folder"),
        (["lift", "-", "-o", tmp_path / "out"], "is a live stream: say --stream"),
        (["lift", "-", "--stream", "--scale", 1.8, "-o", tmp_path / "out"], "-o, --scale: not for a live stream"),
        (["lift", source, "-o", tmp_path / "out", "--video", source], "--video is drawn behind the 2D input"),
        (["search", " ", "--in", tmp_path], "the text is empty"),
        (["search", "walk", "--in", tmp_path / "none"], "no such file or folder"),
        (["label", source, "--model", shipped()], "was fine-tuned to lift, and has no space of motion and words"),
        (["label", source, "--top", 0], "--top 0; expected 1 or more"),
        (["complete", source, "-o", tmp_path / "out", "--hide", 500, 510], "frames 500 to 510 to hide; person 0 has"),
        (["info", tmp_path], "is missing; a model folder holds"),
    ]:
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (1, "") and message in err, arguments
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["lift", "--help"], ["search", "--help"], ["--print-completion", "bash"]]
)
def test_help_and_completion(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0 and len(capsys.readouterr().out) > 300


def test_a_misspelt_command_ends_with_2(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["lfit"])
    assert ended.value.code == 2 and "invalid choice: 'lfit'" in capsys.readouterr().err


def test_output_is_quiet_and_whole_when_piped(tmp_path):
    source = detections(tmp_path / "poses.json", frames=30)
    done = subprocess.run(
        [sys.executable, "-m", "langpose.cli", "lift", source, "-o", tmp_path / "out"], capture_output=True, text=True,
        check=True, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.stdout == f"{tmp_path / 'out' / 'poses.npz'}\n" and done.stderr == ""
