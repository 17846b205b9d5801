"""The report's page in a browser: what it does when somebody uses it."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from langpose import player
from langpose.metrics import mpjpe
from langpose.report import PAPERS, Chart, Line, _rgb
from tests.pages import (
    CHARTS,
    CLIPS,
    HOSTILE,
    NAMES,
    PAGE,
    RANKED,
    column,
    frame,
    limbs,
    millimetres,
    numbers,
    series,
    set_range,
    shown_clip,
    until,
    write,
)


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
    captions = page.eval_on_selector_all(".panel figcaption", "all => all.map(c => c.scrollWidth - c.clientWidth)")
    assert max(captions) <= 0
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
