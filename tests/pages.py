"""Made-up clips, charts, tables and pages for the report's tests, and what reads a page in a browser."""

import base64

import numpy as np

from langpose import player
from langpose.metrics import mpjpe
from langpose.report import Chart, Figure, Line, Page, write_page
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


# In a browser ---------------------------------------------------------------------------------------------------------


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


def column(page, index, block=0):
    return page.eval_on_selector_all(
        f"#tables tbody:nth-of-type({block + 1}) tr:not(.heading)",
        f"rows => rows.map(r => r.cells[{index}].textContent)",
    )


def series(page, chart=0):
    return page.eval_on_selector_all(f".chart:nth-of-type({chart + 1}) .series", "all => all.map(g => g.dataset.name)")
