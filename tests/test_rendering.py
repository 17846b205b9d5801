"""Renderings show what was lifted: a frame for every number, both sides, whatever is missing."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from langpose import rendering, rerun_recording, viewer
from tests.pages import walking
from tests.test_pose_files import poses

pytest.importorskip("PIL")
from PIL import Image


def walker(person=0, frames=30):
    mm = walking(frames, 25.0)
    two_d = np.concatenate([mm[..., :2] / 4 + (600 + 300 * person, 500), np.full((frames, 17, 1), 0.9)], -1)
    made = poses(person, frames, (0,))
    return replace(made, joints=mm.astype(np.float32), keypoints=two_d.astype(np.float32), unit="mm")


def test_a_picture_a_frame_number_and_an_empty_one_where_nobody_is():
    pictures = list(rendering.frames([poses()]))
    assert len(pictures) == 32 and pictures[0].shape == (480, 960, 3) and pictures[0].dtype == np.uint8
    assert (pictures[2] != rendering.PAPER).any((1, 2)).sum() > 200
    assert len(np.unique(pictures[15][:, 490:].reshape(-1, 3), axis=0)) == 1  # between the stretches


def test_left_and_right_have_their_colours_on_both_sides():
    picture = next(rendering.frames([walker()]))
    for half in (picture[:, :478], picture[:, 484:]):
        for colour in ("left", "right", "middle"):
            assert (half == rendering.COLOURS[colour]).all(-1).any(), colour


def test_an_unsure_joint_is_pale_and_an_unseen_one_is_not_drawn():
    sure = walker(frames=1)
    hidden = replace(sure, keypoints=sure.keypoints * np.array([1, 1, 0], np.float32))
    drawn = [next(rendering.frames([one]))[:, :478] for one in (sure, hidden)]
    assert (drawn[0] == rendering.COLOURS["left"]).all(-1).any()
    assert len(np.unique(drawn[1].reshape(-1, 3), axis=0)) == 1


def test_a_turned_view_shows_the_depth():
    front, side = (next(rendering.frames([walker()], turn_deg=turn))[:, 484:] for turn in (0, 90))
    assert (front != side).any()


def test_gif_plays_all_frames(tmp_path):
    rendering.save(tmp_path / "a.gif", [walker(), walker(1)], 25.0)
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 30 and picture.size == (720, 240)


def test_a_gif_has_its_colours_wherever_people_are(tmp_path):
    """Between two stretches nobody is to be seen, in the middle of the film."""
    away = replace(walker(), frames=np.r_[0:15, 100:115], starts=(0, 15))
    rendering.save(tmp_path / "a.gif", [away], 25.0)
    with Image.open(tmp_path / "a.gif") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(100000)}
    assert {rendering.COLOURS["left"], rendering.COLOURS["right"]} <= colours


def test_every_second_frame_plays_at_half_the_rate(tmp_path):
    slow = replace(walker(), frames=2 * np.arange(30), step=2)
    assert len(list(rendering.frames([slow]))) == 30
    (clip,) = viewer.clips_of(slow, 50.0)
    assert clip.rate_hz == 25.0
    other = replace(walker(1), frames=2 * np.arange(30) + 1, step=2)
    assert rendering.step_of([slow, other]) == 1


def test_unseen_joints_are_drawn_where_their_limb_begins():
    one = walker(frames=3)
    one.keypoints[:, 16] = 0
    (clip,) = viewer.clips_of(one, 25.0)
    np.testing.assert_array_equal(clip.input_2d[:, 16, :2], clip.input_2d[:, 15, :2])


def test_mp4_has_every_frame_and_a_video_lies_behind(tmp_path):
    av = pytest.importorskip("av")
    rendering.save(tmp_path / "plain.mp4", [walker()], 25.0)
    with av.open(str(tmp_path / "plain.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == 30 and container.streams.video[0].average_rate == 25
    assert frames[0].shape == (480, 960, 3)
    red = np.zeros((1200, 1600, 3), np.uint8)
    red[..., 0] = 200
    rendering.save_mp4(tmp_path / "red.mp4", iter([red] * 30), 25.0)
    rendering.save(tmp_path / "over.mp4", [walker()], 25.0, video=tmp_path / "red.mp4")
    with av.open(str(tmp_path / "over.mp4")) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.median(first[20:460, 20:460, 0]) > 150 and np.median(first[20:460, 20:460, 1]) < 60
    (tmp_path / "no.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="cannot be read as a video"):
        rendering.check([tmp_path / "b.mp4"], tmp_path / "no.mp4")


def test_a_rerun_recording_holds_the_limbs(tmp_path):
    pytest.importorskip("rerun")
    rerun_recording.save(tmp_path / "poses.rrd", [walker(), walker(1)], 25.0)
    assert (tmp_path / "poses.rrd").stat().st_size > 30 * 2 * 16 * 2 * 3 * 4


def test_another_kind_of_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"rendered as .mp4, .gif, .html; not as '.avi'"):
        rendering.save(tmp_path / "a.avi", [walker()], 25.0)


def test_the_page_holds_every_stretch_and_asks_for_nothing_outside(tmp_path):
    viewer.save_html(tmp_path / "a.html", [poses(1), poses(2)], 25.0, "</script><b>mine</b>")
    text = (tmp_path / "a.html").read_text()
    data = json.loads(text.split('id="player-data">')[1].split("</script>")[0])
    assert [clip["frames"] for clip in data["clips"]] == [7, 5, 7, 5]
    assert (
        "default-src 'none'" in text
        and "http://" not in text.replace("http://www.w3.org", "")
        and "<b>mine" not in text
    )


@pytest.mark.slow
def test_the_page_plays_in_a_browser(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium")
    viewer.save_html(tmp_path / "a.html", [walker(1), walker(2)], 25.0)
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page, errors = browser.new_page(), []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "a.html").as_uri())
        assert page.locator("#clip option").all_inner_texts() == [
            "person 1: frames 0 to 29",
            "person 2: frames 0 to 29",
        ]
        before = page.locator("[data-source=ours] svg").inner_html()
        page.click("#play")
        page.wait_for_timeout(600)
        page.click("#play")
        assert page.locator("[data-source=ours] svg").inner_html() != before
        page.click("#previous")
        page.select_option("#action", "person 1")
        page.fill("#yaw", "90")
        page.click("#reset")
        assert not page.locator(".errors").is_visible() and not page.locator(".panel .error").first.is_visible()
        assert errors == []
        browser.close()
