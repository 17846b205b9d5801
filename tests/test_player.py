"""The report's page as a file: how clips are packed, what is refused, what hostile names do to it."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from langpose import player
from langpose.report import CONTRAST, PAPERS, Chart, Figure, Line, Page, _colours, _luminance, _rgb
from langpose.tables import Block, Table
from tests.pages import CLIPS, HOSTILE, PAGE, make_clip, write


class Parsed(HTMLParser):
    """Tags, ids, texts of scripts and all text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.scripts, self.text, self.references = [], [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.references += [value for name, value in attrs if name in ("src", "href")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags[-1:] == ["script"]:
            self.scripts[-1] += data
        self.text += data


def test_the_page_is_one_file_that_fits_and_needs_nothing_else(tmp_path):
    clips = [make_clip(f"clip_{i}", "Walk", 20, 30, frames=250, rate_hz=25, seed=i) for i in range(24)]
    file = write(tmp_path, replace(PAGE, clips=clips))
    assert file.stat().st_size < 5 * 2**20
    parsed = Parsed(file.read_text(encoding="utf-8"))
    assert "link" in parsed.tags  # the empty icon, which keeps a browser from asking for one
    assert not [r for r in parsed.references if not r.startswith(("#", "data:"))]
    assert not re.search(r"@import|url\(", file.read_text(encoding="utf-8"))
    assert {r[1:] for r in parsed.references if r.startswith("#")} <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))


def test_the_same_data_give_the_same_bytes(tmp_path):
    assert write(tmp_path / "a").read_bytes() == write(tmp_path / "b").read_bytes()


def test_a_hostile_name_stays_text(tmp_path):
    hostile = replace(
        PAGE, title=HOSTILE, lead=HOSTILE, warning=HOSTILE, answer=[HOSTILE], facts={HOSTILE: HOSTILE},
        parameters=HOSTILE, figures=[Figure("one.png", HOSTILE, HOSTILE)],
        tables=[Table("t", HOSTILE, [HOSTILE, HOSTILE], [Block(HOSTILE, [[HOSTILE, HOSTILE]])], [HOSTILE])],
        charts=[Chart(HOSTILE, HOSTILE, HOSTILE, HOSTILE, [Line(HOSTILE, [1, 2], [3, 4])])],
        clips=[replace(CLIPS[0], name=HOSTILE, action=HOSTILE, subject=HOSTILE)],
    )  # fmt: skip
    plain, parsed = (Parsed(write(tmp_path, page).read_text(encoding="utf-8")) for page in (PAGE, hostile))
    assert plain.tags.count("script") == parsed.tags.count("script") == 4
    assert parsed.tags.count("b") == 0
    assert parsed.text.count(HOSTILE) >= 15  # as it is, everywhere it is shown
    chart_data, player_data = map(json.loads, parsed.scripts[:2])
    assert chart_data[0]["title"] == chart_data[0]["lines"][0]["name"] == HOSTILE
    assert player_data["clips"][0]["name"] == player_data["clips"][0]["action"] == HOSTILE


def test_an_empty_part_is_left_out_with_its_link(tmp_path):
    bare = Page("Title", "Lead.", "", [], {"profile": "test"}, "", [])
    text = write(tmp_path, bare).read_text(encoding="utf-8")
    parsed = Parsed(text)
    assert parsed.ids == ["made"]
    assert [r for r in parsed.references if r.startswith("#")] == ["#made"]
    assert 'type="application/json"' not in text


def test_clips_come_back_within_rounding():
    content = json.loads(player.to_json(CLIPS))
    assert content["skeleton"]["limbs"][0] == [0, 1] and len(content["skeleton"]["limbs"]) == 16
    for clip, packed in zip(CLIPS, content["clips"], strict=True):

        def ints(name, dtype="<i2", packed=packed):
            return np.frombuffer(base64.b64decode(packed[name]), dtype).reshape(packed["frames"], 17, -1)

        for name in ("ours", "baseline", "truth"):
            np.testing.assert_allclose(ints(name), getattr(clip, f"{name}_mm"), rtol=0, atol=0.5)
        np.testing.assert_allclose(ints("image") / content["image_units"], clip.input_2d[..., :2], rtol=0, atol=5e-5)
        np.testing.assert_allclose(ints("confidence", "u1")[..., 0] / 255, clip.input_2d[..., 2], rtol=0, atol=1 / 255)
        assert (packed["name"], packed["rate_hz"], packed["gain_mm"]) == (clip.name, clip.rate_hz, clip.gain_mm)


def test_a_confidence_of_almost_nothing_is_not_packed_as_hidden():
    image = CLIPS[0].input_2d.copy()
    image[0, 0, 2] = 1e-4
    packed = json.loads(player.to_json([replace(CLIPS[0], input_2d=image)]))["clips"][0]
    assert base64.b64decode(packed["confidence"])[0] == 1


def test_a_joint_far_outside_the_image_stays_outside():
    packed = json.loads(player.to_json([replace(CLIPS[0], input_2d=with_value(CLIPS[0].input_2d, 1e6))]))["clips"][0]
    image = np.frombuffer(base64.b64decode(packed["image"]), "<i2").reshape(-1, 17, 2)
    assert image[7, 3, 1] == 32767


def with_value(array, value):
    changed = array.copy()
    changed[7, 3, 1] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ours_mm": with_value(CLIPS[0].ours_mm, np.nan)}, r"ours_mm has 1 of 40 frames .* first is 7"),
        ({"baseline_mm": with_value(CLIPS[0].baseline_mm, np.inf)}, "baseline_mm has 1 of 40 frames"),
        ({"truth_mm": CLIPS[0].truth_mm[:, :16]}, r"truth_mm has shape \(40, 16, 3\); expected \(40, 17, 3\)"),
        ({"ours_mm": CLIPS[0].ours_mm[1:]}, r"ours_mm has shape \(39, 17, 3\)"),
        ({"input_2d": CLIPS[0].input_2d[..., :2]}, r"input_2d has shape \(40, 17, 2\)"),
        ({"input_2d": CLIPS[0].input_2d * 2}, "confidences run from 0 to 1.8"),
        ({"ours_mm": with_value(CLIPS[0].ours_mm, 40000)}, "ours_mm reaches 40000"),
        ({"truth_mm": CLIPS[0].truth_mm[:0]}, "no frames"),
        ({"rate_hz": 0.0}, "rate_hz is 0.0"),
        ({"gain_mm": float("nan")}, "gain_mm is nan"),
    ],
)
def test_a_clip_that_cannot_be_played_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        player.to_json([replace(CLIPS[0], **changes)])
    assert "walk_01" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (Line("a", [], []), "no points"),
        (Line("a", [1, 2], [1]), "y has 1 values, x has 2"),
        (Line("a", [1, 2], [1, float("nan")]), "y has values that are not finite"),
        (Line("a", [2, 1], [1, 2]), "x does not rise"),
        (Line("a", [1, 2], [1, 2], low=[0, 1]), "needs low and high"),
    ],
)
def test_a_line_that_cannot_be_drawn_is_refused_by_name(tmp_path, line, message):
    with pytest.raises(ValueError, match=message) as caught:
        write(tmp_path, replace(PAGE, charts=[Chart("Curve", "", "", "", [line])]))
    assert "chart 'Curve', line 'a'" in str(caught.value)


@pytest.mark.parametrize(("mode", "paper"), PAPERS.items())
def test_every_line_and_limb_can_be_told_from_the_paper(mode, paper):
    for colour in _colours(mode).values():
        light, dark = sorted((_luminance(_rgb(c)) for c in (colour, paper)), reverse=True)
        assert colour == paper or (light + 0.05) / (dark + 0.05) >= CONTRAST[mode]
