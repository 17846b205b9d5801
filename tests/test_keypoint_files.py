"""What detectors write is read as it is meant: true frame numbers, tracks, confidences; anything else is explained."""

import json

import numpy as np
import pytest

from langpose.joint_maps import SKELETONS
from langpose.keypoint_files import NOBODY, read

RANDOM = np.random.default_rng(0)
FRAMES = [1, 2, 4, 7]  # 3, 5 and 6 were missed


def poses(joints):
    xy = RANDOM.uniform(20, 900, (len(FRAMES), joints, 2)).round(3)
    return np.concatenate([xy, RANDOM.uniform(0.1, 1, (len(FRAMES), joints, 1)).round(4)], -1)


def alphapose(path, points, tracks=None):
    rows = [
        {"image_id": f"{frame}.jpg", "category_id": 1, "keypoints": pose.ravel().tolist(), "score": 2.9,
         "box": [1.0, 2.0, 3.0, 4.0], **({} if tracks is None else {"idx": [tracks[i]]})}
        for i, (frame, pose) in enumerate(zip(FRAMES, points, strict=True))
    ]  # fmt: skip
    path.write_text(json.dumps(rows))
    return path


def openpose(folder, points):
    folder.mkdir()
    for frame in range(8):
        people = [
            {"person_id": [-1], "pose_keypoints_2d": pose.ravel().tolist(), "face_keypoints_2d": []}
            for number, pose in zip(FRAMES, points, strict=True)
            if number == frame
        ]
        (folder / f"walk_{frame:012d}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": people}))
    return folder


def mmpose(path, points):
    info = [
        {"frame_id": frame, "instances": [{"keypoints": pose[:, :2].tolist(), "keypoint_scores": pose[:, 2].tolist(),
                                           "bbox": [[0, 0, 1, 1]], "bbox_score": 0.9, "track_id": 5}]}
        for frame, pose in zip(FRAMES, points, strict=True)
    ]  # fmt: skip
    path.write_text(json.dumps({"meta_info": {"dataset_name": "coco"}, "instance_info": info}))
    return path


def coco_results(path, points):
    rows = [
        {"image_id": frame, "category_id": 1, "keypoints": pose.ravel().tolist(), "score": 0.99, "bbox": [0, 0, 1, 1]}
        for frame, pose in zip(FRAMES, points, strict=True)
    ]
    path.write_text(json.dumps(rows))
    return path


def ultralytics(path, points):
    frames = [
        [{"name": "person", "class": 0, "confidence": 0.9, "track_id": 3, "box": {"x1": 0, "y1": 0, "x2": 1, "y2": 1},
          "keypoints": {"x": pose[:, 0].tolist(), "y": pose[:, 1].tolist(), "visible": pose[:, 2].tolist()}}
         for number, pose in zip(FRAMES, points, strict=True) if number == frame]
        for frame in range(8)
    ]  # fmt: skip
    path.write_text(json.dumps(frames))
    return path


def labels(folder, points, size):
    folder.mkdir()
    for frame, pose in zip(FRAMES, points, strict=True):
        shares = pose / [*size, 1]
        words = [0, 0.5, 0.5, 0.2, 0.4, *shares.ravel().tolist(), 9]
        (folder / f"walk_{frame}.txt").write_text(" ".join(map(str, words)) + "\n")
    return folder


def npz(path, points, **more):
    np.savez(path, keypoints=points, frames=FRAMES, **more)
    return path


def csv(path, points, names):
    lines = ["frame,person,joint,x,y,confidence"]
    lines += [
        f"{frame},1,{joint},{x},{y},{c}"
        for frame, pose in zip(FRAMES, points, strict=True)
        for joint, (x, y, c) in zip(names, pose, strict=True)
    ]
    path.write_text("\n".join(lines[:1] + lines[:0:-1]) + "\n")  # out of order
    return path


def test_alphapose_and_its_frame_numbers(tmp_path):
    points = poses(17)
    found = read(alphapose(tmp_path / "alphapose-results.json", points, tracks=[1, 1, 2, 1]))
    assert (found.format, found.skeleton.name) == ("AlphaPose", "coco17")
    assert found.frames.tolist() == FRAMES and found.persons.tolist() == [1, 1, 2, 1]
    np.testing.assert_allclose(found.keypoints, points)
    assert read(alphapose(tmp_path / "halpe.json", poses(26))).skeleton.name == "halpe26"


def test_openpose_a_file_a_frame(tmp_path):
    points = poses(25)
    found = read(openpose(tmp_path / "json", points))
    assert (found.format, found.skeleton.name) == ("OpenPose", "body25")
    assert found.frames.tolist() == FRAMES and set(found.persons) == {NOBODY}
    np.testing.assert_allclose(found.keypoints, points)


@pytest.mark.parametrize("joints", [17, 26, 133])
def test_mmpose(tmp_path, joints):
    points = poses(joints)
    found = read(mmpose(tmp_path / "results.json", points))
    assert found.skeleton.number == joints and found.frames.tolist() == FRAMES and set(found.persons) == {5}
    np.testing.assert_allclose(found.keypoints, points)


def test_mmposes_predictions_are_a_list_a_frame(tmp_path):
    points = poses(17)
    content = [[] for _ in range(8)]
    for frame, pose in zip(FRAMES, points, strict=True):
        content[frame] = [{"keypoints": [pose[:, :2].tolist()], "keypoint_scores": [pose[:, 2].tolist()]}]
    (tmp_path / "p.json").write_text(json.dumps(content))
    found = read(tmp_path / "p.json")
    assert found.format == "MMPose" and found.frames.tolist() == FRAMES
    np.testing.assert_allclose(found.keypoints, points)


def test_coco_results_and_annotations(tmp_path):
    points = poses(17)
    found = read(coco_results(tmp_path / "results.json", points))
    assert found.format == "COCO results" and found.frames.tolist() == FRAMES
    images = [{"id": 100 + i, "file_name": f"frame_{frame:05d}.png", "width": 640, "height": 480}
              for i, frame in enumerate(FRAMES)]  # fmt: skip
    rows = [{"image_id": 100 + i, "keypoints": pose.ravel().tolist(), "track_id": 4} for i, pose in enumerate(points)]
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": rows, "categories": []}))
    found = read(tmp_path / "coco.json")
    assert found.frames.tolist() == FRAMES and found.image_size == (640, 480) and set(found.persons) == {4}


def test_ultralytics_json_and_labels(tmp_path):
    points = poses(17)
    found = read(ultralytics(tmp_path / "yolo.json", points))
    assert found.format == "Ultralytics" and found.frames.tolist() == FRAMES and set(found.persons) == {3}
    np.testing.assert_allclose(found.keypoints, points)
    folder = labels(tmp_path / "labels", points, (1000, 950))
    found = read(folder, image_size=(1000, 950))
    assert found.frames.tolist() == FRAMES and set(found.persons) == {9}
    np.testing.assert_allclose(found.keypoints, points)
    with pytest.raises(ValueError, match="shares of the image, whose size is not in the file; say it: --image-size"):
        read(folder)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_npz_of_every_skeleton(tmp_path, skeleton):
    points = poses(skeleton.number)
    found = read(npz(tmp_path / "a.npz", points, skeleton=skeleton.name, image_size=(640, 480), rate_hz=25.0))
    assert found.skeleton is skeleton and found.image_size == (640, 480) and found.rate_hz == 25.0
    np.testing.assert_allclose(found.keypoints, points)


def test_csv_joints_by_name_in_any_order_and_missing_ones_count_as_unseen(tmp_path):
    points, names = poses(17), SKELETONS["coco17"].joints
    found = read(csv(tmp_path / "a.csv", points, names))
    order = np.argsort(found.frames)
    assert found.skeleton.name == "coco17"
    np.testing.assert_allclose(found.keypoints[order], points)
    few = [n for n in range(17) if names[n] != "left_knee"]
    found = read(csv(tmp_path / "b.csv", points[:, few], [names[n] for n in few]))
    assert (found.keypoints[:, names.index("left_knee")] == 0).all()


def test_what_is_no_number_counts_as_not_seen_and_is_told(tmp_path):
    points = poses(17)
    points[1, 3] = np.nan
    points[2, 5, 2] = 4.5
    found = read(npz(tmp_path / "a.npz", points, skeleton="coco17"))
    assert found.notes == ("1 keypoints that are no numbers count as not seen", "confidences up to 4.5 are cut at 1")
    assert found.keypoints[1, 3].tolist() == [0, 0, 0] and found.keypoints[2, 5, 2] == 1


def bad(tmp_path, name):
    """(path, arguments) of each case."""
    path, points = tmp_path / f"{name}.json", poses(17)
    write = path.write_text
    rows = json.loads(alphapose(tmp_path / "good.json", points, tracks=[1] * 4).read_text())
    if name == "missing":
        return path, {}
    if name == "empty":
        write("")
    elif name == "half":
        write(json.dumps(rows)[:200])
    elif name == "a list of nothing":
        write("[]")
    elif name == "nobody":
        write(json.dumps({"meta_info": {}, "instance_info": [{"frame_id": 0, "instances": []}]}))
    elif name == "another json":
        write(json.dumps({"weather": "fine"}))
    elif name == "another list":
        write(json.dumps([1, 2, 3]))
    elif name == "unsure of all":
        for row in rows:
            row["keypoints"][2::3] = [0] * 17
        write(json.dumps(rows))
    elif name == "negative confidence":
        rows[0]["keypoints"][2] = -0.5
        write(json.dumps(rows))
    elif name == "shares":
        for row in rows:
            row["keypoints"] = (np.reshape(row["keypoints"], (17, 3)) / [1000, 1000, 1]).ravel().tolist()
        write(json.dumps(rows))
    elif name == "two skeletons":
        rows[0]["keypoints"] = rows[0]["keypoints"] + [1, 2, 0.5] * 9
        write(json.dumps(rows))
    elif name == "cut keypoints":
        rows[0]["keypoints"] = rows[0]["keypoints"][:-1]
        write(json.dumps(rows))
    elif name == "unknown count":
        write(json.dumps([{**row, "keypoints": row["keypoints"][:36]} for row in rows]))
    elif name == "wrong skeleton":
        write(json.dumps(rows))
        return path, {"skeleton": "halpe26"}
    elif name == "misspelt skeleton":
        write(json.dumps(rows))
        return path, {"skeleton": "cocco17"}
    elif name == "no number":
        rows[0]["image_id"] = "first.jpg"
        write(json.dumps(rows))
    elif name == "twice":
        rows[1]["image_id"] = rows[0]["image_id"]
        write(json.dumps(rows))
    elif name == "no keypoints":
        write(json.dumps([{"image_id": "1.jpg", "score": 1}]))
    elif name == "text keypoints":
        rows[0]["keypoints"][0] = "left"
        write(json.dumps(rows))
    elif name == "binary":
        path.write_bytes(bytes(range(128, 256)))
    elif name == "deep":
        write("[" * 100_000)
    elif name in ("video", "suffix", "empty folder", "mixed folder", "words", "short labels"):
        return special(tmp_path, name, rows)
    elif name.startswith(("npz", "csv")):
        return tables(tmp_path, name, points)
    return path, {}


def special(tmp_path, name, rows):
    folder = tmp_path / "folder"
    if name == "video":
        (tmp_path / "walk.mp4").write_bytes(b"0000")
        return tmp_path / "walk.mp4", {}
    if name == "suffix":
        (tmp_path / "poses.pkl").write_bytes(b"0000")
        return tmp_path / "poses.pkl", {}
    folder.mkdir()
    if name == "mixed folder":
        (folder / "a_1_keypoints.json").write_text(json.dumps({"people": []}))
        (folder / "a_2.json").write_text(json.dumps(rows))
    elif name == "words":
        (folder / "a_1.txt").write_text("person 0.5 0.5\n")
    elif name == "short labels":
        (folder / "a_1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    return folder, {"image_size": (10, 10)}


def tables(tmp_path, name, points):
    path = tmp_path / f"a.{name[:3]}"
    if name == "npz of nothing":
        np.savez(path, other=points)
    elif name == "npz of another shape":
        np.savez(path, keypoints=points[..., :1])
    elif name == "npz with pickles":
        np.savez(path, keypoints=np.array([{"a": 1}], dtype=object))
    elif name == "npz of other frames":
        np.savez(path, keypoints=points, frames=[1, 2])
    elif name == "npz of no zip":
        path.write_bytes(b"PK\x03\x04 broken")
    elif name == "csv without columns":
        path.write_text("time,x,y\n1,2,3\n")
    elif name == "csv of words":
        path.write_text("frame,joint,x,y\n1,nose,left,3\n")
    elif name == "csv of unknown joints":
        path.write_text("frame,joint,x,y\n1,nose,2,3\n1,third_arm,2,3\n")
    return path, {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "is empty"),
        ("half", "is no json"),
        ("a list of nothing", "not one person in it"),
        ("nobody", "MMPose, and not one person in it"),
        ("another json", "json of another layout than AlphaPose, OpenPose, MMPose, COCO and Ultralytics"),
        ("another list", "json of another layout"),
        ("unsure of all", "every confidence is 0"),
        ("negative confidence", "a confidence of -0.5; expected 0 to 1"),
        ("shares", "expected pixels"),
        ("two skeletons", "detections of 17 and 26 joints; expected one skeleton"),
        ("cut keypoints", "keypoints are 50 numbers; expected x, y, confidence of each joint"),
        ("unknown count", "no skeleton has 12 joints; the nearest is"),
        ("wrong skeleton", "17 joints; skeleton halpe26 has 26"),
        ("misspelt skeleton", "no skeleton 'cocco17'; did you mean 'coco17'"),
        ("no number", "no frame number in the name 'first.jpg'"),
        ("twice", "person 1 is in frame 1 2 times; expected once"),
        ("no keypoints", "is laid out as no format that is read"),
        ("text keypoints", "could not convert string"),
        ("binary", "is no json"),
        ("deep", "is no json"),
        ("video", "is a video or picture; expected 2D keypoints. Run a 2D detector on it first"),
        ("suffix", "expected .npz, .csv, .json or a folder"),
        ("empty folder", "expected a file a frame"),
        ("mixed folder", "json files of which not all are OpenPose's"),
        ("words", "line 1: could not convert string"),
        ("short labels", "line 1: 5 numbers; expected class, box, keypoints"),
        ("npz of nothing", "no array 'keypoints'; it has other"),
        ("npz of another shape", "expected \\(frames, joints, 2 or 3\\)"),
        ("npz with pickles", "pickled objects are never opened"),
        ("npz of other frames", "expected one each"),
        ("npz of no zip", "cannot be read as npz"),
        ("csv without columns", "no column frame, joint; it has time, x, y"),
        ("csv of words", "line 2: could not convert string"),
        ("csv of unknown joints", "joints third_arm are not in"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_explained(tmp_path, name, message):
    path, arguments = bad(tmp_path, name)
    with pytest.raises(ValueError, match=message) as caught:
        read(path, **arguments)
    assert path.name in str(caught.value)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        read(tmp_path / "nothing.json")


def test_frames_are_the_number_that_tells_images_apart(tmp_path):
    rows = json.loads(alphapose(tmp_path / "a.json", poses(17)).read_text())
    for name, found in (
        ("clip_{:04d}_1080p.jpg", [1, 2, 4, 7]),
        ("cam2_{:d}.png", [1, 2, 4, 7]),
        ("{:d}", [1, 2, 4, 7]),
    ):
        for row, frame in zip(rows, FRAMES, strict=True):
            row["image_id"] = name.format(frame)
        (tmp_path / "b.json").write_text(json.dumps(rows))
        assert read(tmp_path / "b.json").frames.tolist() == found, name


def test_alphapose_without_tracking_gives_everybody_the_same_number(tmp_path):
    rows = json.loads(alphapose(tmp_path / "a.json", poses(17), tracks=[0] * 4).read_text())
    assert set(read(tmp_path / "a.json").persons) == {0}
    (tmp_path / "b.json").write_text(json.dumps(rows + rows))
    assert set(read(tmp_path / "b.json").persons) == {NOBODY}


def test_detections_of_which_nothing_was_seen_are_left_out(tmp_path):
    points = poses(17)
    points[1, :, 2] = 0
    found = read(npz(tmp_path / "a.npz", points, skeleton="coco17"))
    assert (
        found.frames.tolist() == [1, 4, 7] and "1 detections without a joint that was seen are left out" in found.notes
    )


def test_ultralytics_texts_and_empty_frames(tmp_path):
    content = json.loads(ultralytics(tmp_path / "a.json", poses(17)).read_text())
    (tmp_path / "b.json").write_text(json.dumps([json.dumps(frame) for frame in content]))
    assert read(tmp_path / "b.json").frames.tolist() == FRAMES
    (tmp_path / "c.json").write_text("[[], [], []]")
    with pytest.raises(ValueError, match="not one person in it"):
        read(tmp_path / "c.json")


def test_a_csv_of_limbs_is_cocos_and_a_skeleton_that_is_named_orders_its_joints(tmp_path):
    names = SKELETONS["coco17"].joints
    limbs = [n for n in range(17) if "eye" not in names[n] and "ear" not in names[n] and names[n] != "nose"]
    points = poses(17)
    path = csv(tmp_path / "a.csv", points[:, limbs], [names[n] for n in limbs])
    found = read(path)
    assert found.skeleton.name == "coco17"
    named = read(path, skeleton="h36m17")
    wrist = SKELETONS["h36m17"].joints.index("left_wrist")
    order = np.argsort(named.frames)
    np.testing.assert_allclose(named.keypoints[order][:, wrist], points[:, names.index("left_wrist")])
    with pytest.raises(ValueError, match="joints left_ear, .* are not in mpi17"):
        read(csv(tmp_path / "b.csv", points, names), skeleton="mpi17")


def test_a_csv_as_tables_write_it(tmp_path):
    (tmp_path / "a.csv").write_text("frame,joint,x,y\n0.0,left_hip,300,200\n0.0,right_hip,,\n")
    found = read(tmp_path / "a.csv", skeleton="coco17")
    seen = found.keypoints[0, :, 2] > 0
    assert found.frames.tolist() == [0] and seen.sum() == 1
    (tmp_path / "b.csv").write_text("frame,joint,x,y\n0,left_hip,300,200\n0,left_hip,700,200\n")
    with pytest.raises(ValueError, match="left_hip is in frame 0 twice; several people need a column 'person'"):
        read(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"image_size": 1920}, "expected width, height in pixels"),
        ({"rate_hz": [25, 25]}, "expected one number of frames a second"),
        ({"rate_hz": -25}, "expected one number of frames a second"),
    ],
)
def test_facts_of_an_npz_are_checked(tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        read(npz(tmp_path / "a.npz", poses(17), skeleton="coco17", **more))


def test_odd_numbers_and_shapes_are_told_not_raised_through(tmp_path):
    rows = json.loads(alphapose(tmp_path / "a.json", poses(17)).read_text())
    for number, row in enumerate(rows):
        row["image_id"] = f"clip_2024010112345678901{number}.jpg"
    (tmp_path / "b.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match="beyond 64 bits"):
        read(tmp_path / "b.json")
    np.save(tmp_path / "bare.npy", poses(17))
    (tmp_path / "bare.npy").rename(tmp_path / "bare.npz")
    with pytest.raises(ValueError, match="cannot be read as npz"):
        read(tmp_path / "bare.npz")
    (tmp_path / "cut.csv").write_text("frame,x,y,joint\n0,1,2\n")
    with pytest.raises(ValueError, match="line 2"):
        read(tmp_path / "cut.csv")
