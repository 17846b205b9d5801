"""The report's page: what is in the file, and what it does in a browser when somebody uses it."""

import base64
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from langpose import player
from langpose.metrics import mpjpe
from langpose.report import CONTRAST, PAPERS, Chart, Figure, Line, Page, _colours, _luminance, _rgb, write_page
from langpose.tables import Block, Table

HOSTILE = '</script><script>document.title="owned"</script><!-- <b>&amp;\u2028 "\' {{ 7*7 }}'
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
STANDING = np.array([
    [0, 0, 0], [-130, 0, 0], [-140, 430, 0], [-140, 860, 0], [130, 0, 0], [140, 430, 0], [140, 860, 0], [0, -230, 0],
    [0, -470, 0], [0, -560, -30], [0, -680, 0], [170, -450, 0], [210, -180, 0], [220, 60, 0], [-170, -450, 0],
    [-210, -180, 0], [-220, 60, 0],
], dtype=np.float64)  # fmt: skip
"""(17, 3) mm: a person who faces the camera; x right, y down, z away."""


def walking(frames, rate_hz, pace=1.0):
    """(F, 17, 3) mm, root-relative camera frame: STANDING with swinging arms and legs, turning slowly."""
    t = np.arange(frames) / rate_hz
    pose = np.repeat(STANDING[None], frames, 0)
    for joints, sign in (((2, 3), 1), ((5, 6), -1), ((12, 13), 0.8), ((15, 16), -0.8)):
        angle = sign * 0.5 * np.sin(2 * np.pi * pace * t)
        pivot = STANDING[{2: 1, 5: 4, 12: 11, 15: 14}[joints[0]]]
        for joint in joints:
            down = STANDING[joint, 1] - pivot[1]
            pose[:, joint, 1] = pivot[1] + down * np.cos(angle)
            pose[:, joint, 2] = -down * np.sin(angle)
    turn = 0.6 + 0.5 * np.sin(0.7 * t)
    x, z = pose[..., 0].copy(), pose[..., 2].copy()
    pose[..., 0] = x * np.cos(turn)[:, None] + z * np.sin(turn)[:, None]
    pose[..., 2] = z * np.cos(turn)[:, None] - x * np.sin(turn)[:, None]
    return pose


def make_clip(name, action, ours_off, baseline_off, frames=40, rate_hz=20.0, subject="S9", seed=0):
    """A clip whose models err by about so many mm a coordinate; some joints are hidden or unsure."""
    rng = np.random.default_rng(seed)
    truth = walking(frames, rate_hz, pace=0.6 + 0.2 * seed)

    def near(size):
        drift = np.cumsum(rng.normal(size=truth.shape), 0)
        drift = (drift - drift.mean(0)) / drift.std()
        found = truth + size * drift
        return found - found[:, :1]

    ours, baseline = near(ours_off), near(baseline_off)
    image = np.zeros((frames, 17, 3))
    image[..., :2] = truth[..., :2] / 3000 + np.linspace(-0.3, 0.3, frames)[:, None, None] * [1, 0]
    image[..., 2] = 0.9
    image[frames // 4 : frames // 2, 15:17, 2] = 0
    image[frames // 2 : frames // 2 + 5, 3, 2] = 0.2
    gain = float((mpjpe(baseline, truth) - mpjpe(ours, truth)).mean())
    return player.Clip(name, action, subject, rate_hz, gain, image, ours, baseline, truth)


CLIPS = [
    make_clip("walk_01", "Walk", 20, 45, seed=0),
    make_clip("walk_02", "Walk", 30, 32, seed=1),
    make_clip("walk_03", "Walk", 40, 25, seed=2),
    make_clip("jump_01", "Jump", 25, 34, seed=3),
    make_clip("jump_02", "Jump", 60, 30, seed=4),
]
RANKED = sorted(CLIPS, key=lambda clip: -clip.gain_mm)
SHARES = [0, 10, 20, 30, 40, 50]
NAMES = ["Baseline", "Baseline + MMM", "MMM + MAP (LangPose)"]
CHARTS = [
    Chart(
        f"P1 under occlusion: {what}", "Mean over 3 seeds; band: lowest to highest.", "share hidden, %", "P1, mm",
        [
            Line(name, SHARES, [80 + i + s * (3 - i / 2) for s in SHARES], [78 + i + s * (2.8 - i / 2) for s in SHARES],
                 [82 + i + s * (3.2 - i / 2) for s in SHARES])
            for i, name in enumerate(NAMES)
        ],
    )
    for what in ("joints", "frames")
] + [
    Chart(
        "Fine-tuning", "Validation error.", "step", "validation MPJPE, mm",
        [Line(name, list(range(250, 12250, 250)), [90 + 200 / (1 + s / 9) + i for s in range(48)])
         for i, name in enumerate(NAMES[1:])],
    )
]  # fmt: skip
TABLE = Table(
    "table1", "Table 1. Errors in mm.", ["Method", "Walk", "P1 ↓"],
    [
        Block("", [["Baseline", "86.9 ± 8.1", "81.5 ± 0.3"], ["LangPose", "—", "9.2 ± 1.1"],
                   ["MTL", "100.1", "—"], ["More steps", "−3.5 ± 0.2", "79.0"]]),
        Block("quoted from the paper", [["Someone [1]", "45.0", "40.1"], ["Others [2]", "5.0", "41.0"]]),
    ],
    ["P1 is MPJPE."],
)  # fmt: skip
WIDE = Table("occlusion", "P1 under occlusion, mm", ["Configuration", *(f"human36m: window:0.{i}" for i in range(3))],
             [Block("", [["MMM + MAP (LangPose)", *["156.9 ± 5.6"] * 3]])], [])  # fmt: skip
PAGE = Page(
    title="LangPose: synthetic page", lead="Synthetic motion, one subject.", warning="Numbers of a test.",
    answer=["Language helps by 0.3 ± 1.1 mm: not more than chance.", "Most under hidden arms.", "Two seeds."],
    facts={"profile": "test", "inputs": "0123456789abcdef" * 4}, parameters="train:\n  steps: 3  # <few>\n",
    tables=[TABLE], figures=[Figure("one.png", "Figure 4. One", "A picture.")], charts=CHARTS, listings=[WIDE],
    clips=CLIPS,
)  # fmt: skip


def write(folder, page=PAGE):
    folder.mkdir(exist_ok=True)
    (folder / "one.png").write_bytes(PIXEL)
    write_page(folder, page)
    return folder / "index.html"


# The file -------------------------------------------------------------------------------------------------------------


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


# In a browser ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("playwright is not installed (pip install -e '.[dev]'): the page was not tried in a browser")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium (apt-get install chromium, or name it in CHROMIUM): the page was not tried in it")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return write(tmp_path_factory.mktemp("page")).as_uri()


@pytest.fixture
def visit(browser, address):
    """Open the page, with no network; whatever it complains of fails the test."""
    contexts, complaints = [], []

    def opened(url=address, **settings):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        context.set_default_timeout(10_000)

        def gate(route):
            if route.request.url.startswith(("file:", "data:")):
                return route.continue_()
            complaints.append(f"asked for {route.request.url}")
            return route.abort()

        context.route("**/*", gate)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def frame(page):
    return int(page.input_value("#frame"))


def until(page, condition):
    """Wait until an expression holds; the page's own policy forbids Playwright's way, which evaluates strings."""
    waiting = "await new Promise(done => setTimeout(done, 10)); if (performance.now() > end) throw Error('too long');"
    page.evaluate(f"async () => {{ const end = performance.now() + 2e4; while (!({condition})) {{ {waiting} }} }}")


def shown_clip(page):
    return page.evaluate("document.querySelector('#clip').selectedOptions[0].textContent")


def numbers(page):
    """The line of numbers under the player: {name: text}."""
    rows = page.locator("#numbers span").all_inner_texts()
    names = ("Frame", "LangPose", "Baseline", "Gain in this frame", "Gain over the clip")
    return {name: row.removeprefix(name).strip() for name, row in zip(names, rows, strict=True)}


def millimetres(text):
    return float(text.removesuffix(" mm").replace("−", "-"))


def limbs(page, source):
    """The coordinates of a panel's lines, as drawn."""
    return page.eval_on_selector_all(
        f'[data-source="{source}"] .limb',
        "lines => lines.map(l => ['x1', 'y1', 'x2', 'y2'].map(a => +l.getAttribute(a)))",
    )


def set_range(page, selector, value):
    page.eval_on_selector(
        selector, "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )


def test_nothing_plays_by_itself_and_the_median_is_shown_first(visit):
    page = visit(reduced_motion="reduce")
    page.wait_for_timeout(300)
    assert frame(page) == 0
    assert page.inner_text("#play") == "Play"
    assert RANKED[2].name in shown_clip(page)


def test_every_control_does_something(visit):
    """No dead control: whatever can be pressed, chosen or moved changes what the page shows."""
    page = visit()
    look = """() => JSON.stringify([document.querySelector('main').innerHTML, scrollY,
        ...[...document.querySelectorAll('input, select')].map(i => i.value)])"""
    buttons = page.locator("button")
    for i in range(buttons.count()):
        page.select_option("#action", "")  # the median clip, where every button of the player can be pressed
        button, before = buttons.nth(i), page.evaluate(look)
        if button.get_attribute("data-rule") == "median":
            page.click('[data-rule="gain"]')
        if button.get_attribute("id") == "reset":
            set_range(page, "#yaw", 40)
        before = page.evaluate(look)
        button.click()
        page.wait_for_timeout(150 if button.get_attribute("id") == "play" else 0)
        assert page.evaluate(look) != before, button.inner_text()
        if button.get_attribute("id") == "play":
            button.click()
    for selector in ("#action", "#clip", "#speed"):
        options = page.eval_on_selector_all(f"{selector} option", "all => all.map(o => o.value)")
        for value in options:
            other = next(o for o in options if o != value)
            page.select_option(selector, other)
            before = page.evaluate(look)
            page.select_option(selector, value)
            assert page.evaluate(look) != before, (selector, value)
    for selector in ("#frame", "#yaw"):
        before = page.evaluate(look)
        page.focus(selector)
        page.keyboard.press("ArrowRight")
        assert page.evaluate(look) != before, selector
    links = page.locator("nav a")
    for i in reversed(range(links.count())):
        links.nth(i).click()
        page.wait_for_timeout(50)
        assert page.evaluate("location.hash") == links.nth(i).get_attribute("href")
        assert links.nth(i).get_attribute("aria-current") == "true"
    assert not page.locator("pre").is_visible()
    page.click("summary")
    assert "steps: 3  # <few>" in page.inner_text("pre")


def test_play_goes_on_and_pause_holds(visit):
    page = visit()
    page.click("#play")
    until(page, "+document.querySelector('#frame').value > 3")
    assert page.inner_text("#play") == "Pause"
    page.click("#play")
    held = frame(page)
    page.wait_for_timeout(300)
    assert frame(page) == held > 3
    page.select_option("#speed", "2")
    set_range(page, "#frame", 36)
    page.click("#play")
    until(page, "+document.querySelector('#frame').value < 30")  # over again


def test_the_speed_is_the_clips_own(visit):
    page = visit()
    # 40 frames at 20 Hz; timed in the page, loosely: a busy machine drops frames, it never hurries
    timed = """async speed => {
        document.querySelector('#speed').value = speed;
        document.querySelector('#speed').dispatchEvent(new Event('change'));
        const bar = document.querySelector('#frame'), at = performance.now();
        document.querySelector('#play').click();
        while (+bar.value < 12) await new Promise(requestAnimationFrame);
        document.querySelector('#play').click();
        const passed = performance.now() - at;
        bar.value = 0; bar.dispatchEvent(new Event('input'));
        return passed;
    }"""
    assert page.evaluate(timed, "1") >= 550
    assert page.evaluate(timed, "0.5") >= 1100


def test_errors_are_the_mpjpe_of_the_frame(visit):
    page = visit()
    for place, clip in enumerate(RANKED):
        page.select_option("#clip", str(place))
        for index in (0, 13, 39):
            set_range(page, "#frame", index)
            shown = numbers(page)
            ours, baseline = (mpjpe(p[index], clip.truth_mm[index]) for p in (clip.ours_mm, clip.baseline_mm))
            assert millimetres(shown["LangPose"]) == pytest.approx(ours, abs=0.3)  # poses are rounded to 1 mm
            assert millimetres(shown["Baseline"]) == pytest.approx(baseline, abs=0.3)
            assert millimetres(shown["Gain in this frame"]) == pytest.approx(baseline - ours, abs=0.5)
            assert millimetres(shown["Gain over the clip"]) == pytest.approx(clip.gain_mm, abs=0.051)
            assert shown["Frame"] == f"{index + 1} of 40, {index / 20:.2f} s"
            assert page.inner_text('[data-source="ours"] .error') == shown["LangPose"]
            assert page.inner_text('[data-source="baseline"] .error') == shown["Baseline"]


def test_clips_are_picked_by_action_by_rule_and_in_turn(visit):
    page = visit()
    for rule, clip in (("gain", RANKED[0]), ("loss", RANKED[-1]), ("median", RANKED[2])):
        page.click(f'[data-rule="{rule}"]')
        assert clip.name in shown_clip(page)
        pressed = page.eval_on_selector_all("[data-rule][aria-pressed=true]", "all => all.map(b => b.dataset.rule)")
        assert pressed == [rule]
    page.click("#next")
    assert RANKED[3].name in shown_clip(page)
    page.click("#previous")
    page.click("#previous")
    assert RANKED[1].name in shown_clip(page)
    page.click("#previous")
    assert page.is_disabled("#previous") and page.is_enabled("#next")
    page.select_option("#action", "Jump")
    options = page.eval_on_selector_all("#clip option", "all => all.map(o => o.textContent)")
    assert [o.split(": ")[1].split(" ")[0] for o in options] == [c.name for c in RANKED if c.action == "Jump"]
    page.click('[data-rule="gain"]')
    assert "Jump" in shown_clip(page) and page.is_disabled("#previous")
    page.click("#next")
    assert page.is_disabled("#next")


def test_poses_are_drawn_from_the_camera_and_turn(visit):
    page = visit()
    page.select_option("#clip", "0")
    set_range(page, "#frame", 5)
    truth = RANKED[0].truth_mm[5]
    radius = max(np.hypot(p[..., 0], p[..., 2]).max() for p in (RANKED[0].ours_mm, RANKED[0].baseline_mm, truth[None]))

    def drawn_width():
        lines = np.array(limbs(page, "truth"))
        return lines[:, [0, 2]].max() - lines[:, [0, 2]].min()

    lines = np.array(limbs(page, "truth"))
    ratio = np.ptp(lines[:, [0, 2]]) / np.ptp(lines[:, [1, 3]])
    assert ratio == pytest.approx(np.ptp(truth[:, 0]) / np.ptp(truth[:, 1]), rel=0.02)  # y down, one scale
    scale = drawn_width() / np.ptp(truth[:, 0])
    assert scale * radius < 100  # never out of its panel
    set_range(page, "#yaw", 90)
    assert drawn_width() == pytest.approx(scale * np.ptp(truth[:, 2]), rel=0.02)
    image = limbs(page, "image")
    page.click("#reset")
    assert page.input_value("#yaw") == "0"
    assert np.allclose(limbs(page, "truth"), lines) and limbs(page, "image") == image

    ghost = page.locator('[data-source="ours"] .ghost').first.get_attribute("y2")
    assert any(float(ghost) == pytest.approx(y2) for _, _, _, y2 in lines)
    panel = page.locator('[data-source="ours"] svg')
    panel.scroll_into_view_if_needed()
    box = panel.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 55)
    page.mouse.up()
    assert page.input_value("#yaw") == "60"
    page.mouse.move(box["x"] + 20, box["y"] + 50)
    assert page.input_value("#yaw") == "60"


def test_hidden_joints_are_hollow_and_their_limbs_dotted(visit):
    page = visit()
    for index in (0, 12, 22):
        set_range(page, "#frame", index)
        unsure = np.flatnonzero(CLIPS[0].input_2d[index, :, 2] < player.UNSURE).tolist()
        hollow = page.eval_on_selector_all(
            '[data-source="image"] .joint', "all => all.flatMap((d, i) => d.classList.contains('unsure') ? [i] : [])"
        )
        assert hollow == unsure
        dotted = page.locator('[data-source="image"] .limb.unsure').count()
        assert dotted == {0: 0, 12: 2, 22: 1}[index]


def test_the_player_by_keyboard(visit):
    page = visit()
    page.focus("#stage")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert frame(page) == 1
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert frame(page) == 39
    page.keyboard.press("Home")
    assert frame(page) == 0
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert page.input_value("#yaw") == "10"
    page.keyboard.press("0")
    assert page.input_value("#yaw") == "0"
    for _ in range(37):
        page.keyboard.press("Shift+ArrowLeft")
    assert page.input_value("#yaw") == "175"  # all the way round
    page.keyboard.press("Space")
    until(page, "+document.querySelector('#frame').value > 1")
    page.keyboard.press("Space")
    assert page.inner_text("#play") == "Play"
    page.focus("#frame")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert frame(page) == 1
    page.keyboard.press("Space")
    assert page.inner_text("#play") == "Pause"
    page.focus("#play")
    page.keyboard.press("Space")
    assert page.inner_text("#play") == "Play"


def test_a_click_on_the_error_curves_seeks(visit):
    page = visit()
    svg = page.locator(".errors svg")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 16, box["y"] + 60)
    assert frame(page) == 39
    at_end = float(page.get_attribute(".errors .now line", "x1"))
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 60)
    assert 17 <= frame(page) <= 21
    assert float(page.get_attribute(".errors .now line", "x1")) < at_end - 100
    assert page.locator(".errors path.line").count() == 2


def column(page, index, block=0):
    return page.eval_on_selector_all(
        f"#tables tbody:nth-of-type({block + 1}) tr:not(.heading)",
        f"rows => rows.map(r => r.cells[{index}].textContent)",
    )


def test_tables_sort_by_number_with_what_is_missing_last(visit):
    page = visit()
    heads = page.locator("#tables thead th")
    as_written = column(page, 0)
    heads.nth(1).locator("button").click()
    assert column(page, 1) == ["−3.5 ± 0.2", "86.9 ± 8.1", "100.1", "—"]
    assert column(page, 1, block=1) == ["5.0", "45.0"]  # each block for itself
    assert heads.nth(1).get_attribute("aria-sort") == "ascending"
    heads.nth(1).locator("button").click()
    assert column(page, 1) == ["100.1", "86.9 ± 8.1", "−3.5 ± 0.2", "—"]
    assert heads.nth(1).get_attribute("aria-sort") == "descending"
    heads.nth(1).locator("button").click()
    assert column(page, 0) == as_written
    heads.nth(2).locator("button").focus()
    page.keyboard.press("Enter")
    assert column(page, 2) == ["9.2 ± 1.1", "79.0", "81.5 ± 0.3", "—"]
    assert heads.nth(1).get_attribute("aria-sort") == "none"
    heads.nth(0).locator("button").focus()
    page.keyboard.press("Space")
    assert column(page, 0) == ["Baseline", "LangPose", "More steps", "MTL"]


def series(page, chart=0):
    return page.eval_on_selector_all(f".chart:nth-of-type({chart + 1}) .series", "all => all.map(g => g.dataset.name)")


def test_legend_entries_hide_and_show_their_lines(visit):
    page = visit()
    entries = page.locator(".chart").first.locator(".legend button")
    assert entries.all_inner_texts() == NAMES == series(page)
    entries.nth(1).click()
    assert series(page) == [NAMES[0], NAMES[2]] and series(page, 1) == NAMES
    assert page.locator(".chart").first.locator(".band").count() == 2
    assert entries.nth(1).get_attribute("aria-pressed") == "false"
    entries.nth(0).click()
    entries.nth(2).focus()
    page.keyboard.press("Enter")
    assert series(page) == []
    assert "All lines are hidden." in page.locator(".chart").first.inner_text()
    page.locator(".plot").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".tooltip").first.is_hidden()
    entries.nth(1).click()
    assert series(page) == [NAMES[1]]
    assert entries.nth(1).get_attribute("aria-pressed") == "true"


def test_a_chart_is_read_with_the_pointer(visit):
    page = visit()
    plot, tooltip = page.locator(".plot").first, page.locator(".tooltip").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 100)
    assert tooltip.locator("b").inner_text() == "share hidden, %: 50"
    highest_first = sorted(CHARTS[0].lines, key=lambda line: -line.y[-1])
    rows = tooltip.locator("span").all_inner_texts()
    assert rows[::2] == [line.name for line in highest_first]
    assert rows[1::2] == [f"{x.y[-1]:.1f} ({x.low[-1]:.1f} to {x.high[-1]:.1f})" for x in highest_first]
    inside = tooltip.bounding_box()
    assert inside["x"] >= box["x"] and inside["x"] + inside["width"] <= box["x"] + box["width"] + 1
    page.mouse.move(box["x"] + 60, box["y"] + 100)
    assert tooltip.locator("b").inner_text() == "share hidden, %: 0"
    page.mouse.move(5, 5)
    assert tooltip.is_hidden()


def test_a_chart_is_read_with_the_keyboard(visit):
    page = visit()
    plot, tooltip = page.locator(".plot").nth(2), page.locator(".tooltip").nth(2)
    plot.focus()
    assert tooltip.locator("b").inner_text() == "step: 250"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert tooltip.locator("b").inner_text() == "step: 500"
    assert plot.get_attribute("aria-valuenow") == "1" and plot.get_attribute("aria-valuemax") == "47"
    assert "Baseline + MMM 270.0" in plot.get_attribute("aria-valuetext")
    page.keyboard.press("End")
    assert tooltip.locator("b").inner_text() == "step: 12,000"
    page.keyboard.press("Home")
    assert tooltip.locator("b").inner_text() == "step: 250"
    page.keyboard.press("Escape")
    assert tooltip.is_hidden()


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_but_tables_scrolls_sideways(visit, width):
    page = visit(viewport={"width": width, "height": 800})
    page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    tops = page.eval_on_selector_all(".panel", "all => all.map(p => p.getBoundingClientRect().top)")
    assert len(set(tops)) == (1 if width > 700 else 2)
    assert page.eval_on_selector("#more .scroll", "box => box.scrollWidth > box.clientWidth") == (width < 600)
    overflowing = page.evaluate("""() => [...document.querySelectorAll('button, select, input, figure, p')]
        .filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth + 1)
        .map(e => e.outerHTML)""")
    assert overflowing == []


def test_dark_mode_changes_paper_and_lines(visit):
    looks = []
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme)
        found = page.evaluate("""() => ['body', '.limb.middle', '.series path', '#play']
            .map(s => getComputedStyle(document.querySelector(s)))
            .map(style => [style.backgroundColor, style.color, style.stroke])""")
        looks.append(found)
    light, dark = looks
    assert light[0][:2] != dark[0][:2]
    assert light[1][2] == "rgb(61, 64, 91)" != dark[1][2]
    assert dark[0][0] == "rgb({}, {}, {})".format(*_rgb(PAPERS["dark"]))


def test_every_control_has_a_name_and_shows_its_focus(visit):
    page = visit()
    unnamed = page.evaluate("""() => [...document.querySelectorAll('button, select, input, [tabindex="0"]')]
        .filter(e => !(e.ariaLabel || e.labels?.[0]?.textContent.trim() || e.textContent.trim()))
        .map(e => e.outerHTML)""")
    assert unnamed == []
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        state = page.evaluate("""() => { const e = document.activeElement, style = getComputedStyle(e);
            return [e.id || e.className || e.textContent, style.outlineStyle, parseFloat(style.outlineWidth)]; }""")
        seen.add(state[0])
        assert state[0] == "" or state[0].startswith("\n") or (state[1] != "none" and state[2] >= 1), state
    assert {"play", "frame", "speed", "yaw", "reset", "action", "clip", "stage", "plot"} <= seen


def test_hostile_names_do_nothing_in_a_browser(visit, tmp_path):
    hostile = replace(
        PAGE, title=HOSTILE, charts=[Chart(HOSTILE, "", HOSTILE, HOSTILE, [Line(HOSTILE, [1, 2], [3, 4])])],
        clips=[replace(CLIPS[0], name=HOSTILE, action=HOSTILE)],
    )  # fmt: skip
    page = visit(write(tmp_path, hostile).as_uri())
    assert page.title() != "owned"
    assert page.inner_text(".legend button").startswith("</script>")
    page.select_option("#action", index=1)
    assert "</script>" in shown_clip(page)


def test_a_clip_of_one_frame_and_a_chart_of_one_point_are_shown(visit, tmp_path):
    one = CLIPS[0]
    short = replace(
        one, input_2d=one.input_2d[:1] * [1, 1, 0], ours_mm=one.ours_mm[:1], baseline_mm=one.baseline_mm[:1],
        truth_mm=one.truth_mm[:1],
    )  # fmt: skip
    page = visit(write(tmp_path, replace(PAGE, clips=[short], charts=[
        Chart("One", "", "x", "y", [Line("a", [0], [0]), Line("b", [0], [-2])])])).as_uri())  # fmt: skip
    page.click("#play")
    page.wait_for_timeout(100)
    page.click("#play")
    assert frame(page) == 0 and page.is_disabled("#next") and page.is_disabled("#previous")
    assert np.isfinite(limbs(page, "image")).all()
    assert "NaN" not in page.inner_html(".errors") + page.inner_html(".plot")
    page.locator(".plot").focus()
    assert page.locator(".tooltip b").inner_text() == "x: 0"
