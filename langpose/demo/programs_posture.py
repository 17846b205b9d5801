"""Action programs of the whole body on its two feet or on a seat: standing, sitting, bending, reaching."""

import numpy as np

from langpose.demo.footsteps import LEFT, RIGHT
from langpose.demo.kinematics import bump, minimum_jerk
from langpose.demo.scene import Label, Program, Scene, program

PROGRAMS: dict[str, Program] = {}

_ON_THIGH = ((0.02, -0.68, 0.48), (0.7, -0.5, -0.5))  # hand and elbow of a seated body
_ON_HIP = ((0.02, -0.63, 0.06), (1.0, -0.1, -0.45))


def _shift_weight(scene: Scene, size_m: float = 0.05) -> None:
    """Onto one leg and the other, slowly."""
    shift = scene.wander(1.0, scene.uniform(0.12, 0.3))
    scene.controls["pelvis"][:, 0] += size_m * shift
    scene.controls["hips"][:, 2] += 0.07 * shift
    scene.controls["spine"][:, 2] -= 0.07 * shift


@program(PROGRAMS, "stand")
def stand(scene: Scene) -> Label:
    _shift_weight(scene, scene.uniform(0.015, 0.04))
    scene.controls["head"][:, 1] += scene.wander(0.2, 0.2)
    scene.controls["head"][:, 0] += scene.uniform(-0.05, 0.15)
    raw = ["stand", "standing still", "stands", "standing straight", "stand with arms at the sides"]
    return Label(scene.choose(raw), "stand", ("stand",))


@program(PROGRAMS, "wait", half_width=(0.1, 0.16))
def wait(scene: Scene) -> Label:
    _shift_weight(scene, scene.uniform(0.04, 0.07))
    still = np.ones_like(scene.t)
    kind = scene.choose(["hips", "crossed", "watch"])
    if kind == "hips":
        for side in (0, 1):
            scene.arm(side, still, *_ON_HIP, curl=0.3)
    elif kind == "crossed":
        scene.arm(scene.side, still, (-0.42, -0.38, 0.42), (0.8, -0.7, 0.1), curl=0.3)
        scene.arm(1 - scene.side, still, (-0.36, -0.27, 0.46), (0.8, -0.7, 0.1), curl=0.3)
    else:
        look = np.zeros_like(scene.t)
        for start in scene.repeats(2.2):
            look += bump((scene.t - start - 0.1) / 1.8)
        scene.arm(scene.side, look, (-0.25, -0.28, 0.52), (0.9, -0.5, 0.0), twist=0.5)
        scene.controls["head"][:, 0] += 0.45 * look
        scene.controls["head"][:, 1] += 0.15 * scene.sign * look
    scene.controls["head"][:, 1] += scene.wander(0.3, 0.3)
    raw = {
        "hips": ["wait with hands on hips", "stand with hands on hips"],
        "crossed": ["wait with arms crossed", "cross the arms and wait"],
        "watch": ["wait and look at the watch", "check the time"],
    }[kind]
    return Label(scene.choose([*raw, "waiting"]), "wait", ("stand", "wait"))


def _seat(scene: Scene, seated: np.ndarray, lap: bool = True) -> None:
    """Hips 0.45 m high, shanks upright; ``seated`` (T,) from 0 standing to 1."""
    build, height_m = scene.build, scene.uniform(0.43, 0.47)
    scene.controls["pelvis"][:, 1] += seated * (height_m - build.hip_height_m)
    scene.controls["pelvis"][:, 2] += seated * (scene.uniform(0.02, 0.09) - build.thigh_m)
    scene.controls["hips"][:, 0] += seated * scene.uniform(-0.2, 0.05)
    scene.controls["spine"][:, 0] += seated * scene.uniform(0.1, 0.3)
    scene.controls["knees_out"][:, 0] += seated * scene.uniform(0.0, 0.2)
    if lap:
        for side in (0, 1):
            hand = np.array(_ON_THIGH[0]) + scene.rng.normal(0, 0.04, 3)
            scene.arm(side, seated, hand, _ON_THIGH[1], curl=0.3)


@program(PROGRAMS, "sit_down", half_width=(0.1, 0.14), ends_low=True)
def sit_down(scene: Scene) -> Label:
    begin, takes = scene.uniform(0.1, 0.35), scene.uniform(0.95, 1.3)
    seated = minimum_jerk((scene.t - begin) / takes)
    _seat(scene, seated)
    lean = bump((scene.t - begin + 0.1) / (takes + 0.35))
    scene.controls["hips"][:, 0] += scene.uniform(0.4, 0.6) * lean
    scene.controls["spine"][:, 0] += scene.uniform(0.2, 0.4) * lean
    scene.controls["head"][:, 0] -= 0.3 * lean
    for side in (0, 1):  # feeling for the seat
        scene.arm(side, 0.6 * lean, (0.3, -0.75, -0.25), (0.5, 0.0, -0.9))
    raw = ["sit down", "sits down on a chair", "takes a seat", "lower the body to sit"]
    return Label(scene.choose(raw), "sit down", ("sit", "stand up/sit down"))


@program(PROGRAMS, "sitting", half_width=(0.1, 0.16), starts_low=True, ends_low=True)
def sitting(scene: Scene) -> Label:
    still = np.ones_like(scene.t)
    _seat(scene, still)
    scene.controls["spine"][:, 0] += scene.wander(0.12, 0.25)
    scene.controls["spine"][:, 1] += scene.wander(0.08, 0.3)
    scene.controls["spine"][:, 2] += scene.wander(0.05, 0.3)
    scene.controls["head"][:, 1] += scene.wander(0.3, 0.35)
    kind = scene.choose(["lap", "hands", "forward"])
    if kind == "hands":  # one hand gestures from the lap
        lift = 0.5 + 0.5 * scene.wave(0.6)
        scene.arm(scene.side, lift, (0.1, -0.4, 0.55), (0.6, -0.8, -0.2))
    elif kind == "forward":
        scene.controls["hips"][:, 0] += 0.3
        scene.controls["spine"][:, 0] += 0.15
        scene.controls["head"][:, 0] -= 0.3
        for side in (0, 1):
            scene.arm(side, 0.8 * still, (-0.12, -0.62, 0.58), (0.9, -0.4, -0.1))
    tap = scene.chance(0.4)
    if tap:
        scene.controls["heels"][:, scene.side] += 0.12 * (1 + scene.wave(1.6))
    raw = ["sitting", "sit", "seated on a chair", "sits still", "sitting and fidgeting"]
    return Label(scene.choose(raw), "sit", ("sit",))


def _down_up(scene: Scene, period_s: float, hold: float = 0.35) -> np.ndarray:
    """(T,): repeatedly 0, 1 for the fraction ``hold`` of the period, 0."""
    down = np.zeros_like(scene.t)
    starts = scene.repeats(period_s)
    period_s = scene.duration_s / len(starts)
    takes = 0.5 * (1 - hold) * period_s * 0.92
    for start in starts:
        down += minimum_jerk((scene.t - start - 0.05) / takes)
        down -= minimum_jerk((scene.t - start - 0.05 - takes - hold * period_s) / takes)
    return down


@program(PROGRAMS, "squat", half_width=(0.15, 0.2))
def squat(scene: Scene) -> Label:
    deep = scene.uniform(0.28, 0.45)
    down = _down_up(scene, scene.uniform(1.8, 2.6), scene.uniform(0.1, 0.4))
    scene.controls["pelvis"][:, 1] -= deep * down
    scene.controls["pelvis"][:, 2] -= 0.3 * deep * down
    scene.controls["hips"][:, 0] += 1.3 * deep * down
    scene.controls["spine"][:, 0] += 0.6 * deep * down
    scene.controls["head"][:, 0] -= 0.7 * deep * down
    scene.controls["knees_out"][:, 0] += 0.35 * down
    if scene.chance(0.6):
        for side in (0, 1):
            scene.controls["upright"][:, side] += 0.7 * down
            scene.arm(side, down, (0.0, -0.02, 0.95), (0.6, -0.8, 0.0), curl=0.1)
    else:
        for side in (0, 1):
            scene.arm(side, down, (-0.22, -0.25, 0.52), (0.8, -0.6, 0.0), curl=0.7)
    raw = ["squat", "squats down", "do squats", "crouch down", "crouches and gets up"]
    return Label(scene.choose(raw), "squat", ("squat", "crouch"))


@program(PROGRAMS, "bend", half_width=(0.09, 0.16))
def bend(scene: Scene) -> Label:
    down = _down_up(scene, scene.uniform(2.0, 3.0), scene.uniform(0.15, 0.4))
    side = scene.side_name
    if scene.chance(0.3):
        lean = scene.uniform(0.45, 0.7)
        scene.controls["spine"][:, 2] -= scene.sign * lean * down
        scene.controls["hips"][:, 2] -= scene.sign * 0.12 * down
        scene.controls["pelvis"][:, 0] -= scene.sign * 0.07 * down
        scene.arm(scene.side, down, (0.1, -0.98, 0.05))
        scene.arm(1 - scene.side, down, (-0.15, 0.85, 0.1), (0.9, -0.1, -0.3))
        scene.controls["upright"][:, scene.side] += down
        raw = [f"bend to the {side}", f"bends sideways to the {side}", f"leans to the {side} side"]
        return Label(scene.choose(raw), f"bend {side}", ("bend", "lean"))
    hip, back = scene.uniform(0.7, 1.1), scene.uniform(0.5, 0.9)
    scene.controls["hips"][:, 0] += hip * down
    scene.controls["spine"][:, 0] += back * down
    scene.controls["head"][:, 0] += 0.1 * down
    scene.controls["pelvis"][:, 2] -= 0.16 * down
    scene.controls["pelvis"][:, 1] -= 0.04 * down
    reach = scene.uniform(-0.05, 0.25)
    for arm in (0, 1):
        scene.controls["upright"][:, arm] += down
        scene.arm(arm, down, (0.0, -0.96, reach), (0.6, 0.2, -0.8), curl=0.2)
    raw = ["bend forward", "bends over", "bend down to touch the toes", "bows deeply", "lean forward from the hips"]
    return Label(scene.choose(raw), "bend forward", ("bend",))


@program(PROGRAMS, "pick_up", half_width=(0.11, 0.17))
def pick_up(scene: Scene) -> Label:
    both, placing = scene.chance(0.45), scene.chance(0.25)
    length = scene.duration_s
    down_at, up_at, end = 0.36 * length, 0.5 * length, 0.85 * length
    down = scene.keys([0.0, down_at, up_at, end], [0, 1, 1, 0])
    deep, hip = scene.uniform(0.3, 0.42), scene.uniform(0.75, 0.95)
    scene.controls["pelvis"][:, 1] -= deep * down
    scene.controls["pelvis"][:, 2] -= 0.17 * down
    scene.controls["hips"][:, 0] += hip * down
    scene.controls["spine"][:, 0] += 0.55 * down
    scene.controls["head"][:, 0] -= 0.1 * down
    scene.controls["knees_out"][:, 0] += 0.25 * down
    carried, hanging = (-0.2, -0.5, 0.5), (0.14, -0.95, 0.12)
    before, after = (carried, hanging) if placing else (hanging, carried)
    low = (-0.12 if both else 0.0, -0.93, 0.3)
    hand = scene.keys([0.0, down_at, up_at, end], [before, low, low, after])
    share = scene.keys([0.0, down_at, up_at, end], [0, 1, 1, 0])
    grip = scene.keys([0.0, down_at, up_at, end], [0.7, 0.7, 0.3, 0.3] if placing else [0.2, 0.1, 0.75, 0.75])
    for side in (LEFT, RIGHT):
        scene.controls["upright"][:, side] += share
        if both or side == scene.side:
            scene.arm(side, np.ones_like(scene.t), hand, (0.8, -0.2, -0.6))
            scene.controls["curl"][:, side] = grip
        else:
            scene.arm(side, down, (0.25, -0.7, 0.35), (0.8, 0.0, -0.7))
    scene.controls["arm_swing"] = 0.0
    if placing:
        raw = ["put down a box", "places something on the floor", "put an object down"]
        return Label(scene.choose(raw), "place something", ("place something", "bend"))
    how = "with both hands" if both else f"with the {scene.side_name} hand"
    raw = [f"pick up something {how}", "pick up from the floor", f"picks up an object {how}", "lift a box"]
    return Label(scene.choose(raw), "pick up", ("take/pick something up", "bend"))


@program(PROGRAMS, "stretch", half_width=(0.1, 0.18))
def stretch(scene: Scene) -> Label:
    up = scene.held(0.7, 0.7)
    sway = scene.wave(scene.uniform(0.25, 0.4))
    scene.controls["spine"][:, 2] += 0.35 * sway * up
    scene.controls["pelvis"][:, 0] -= 0.05 * sway * up
    scene.controls["spine"][:, 0] -= 0.15 * up
    scene.controls["head"][:, 0] -= 0.2 * up
    tiptoe = scene.chance(0.4)
    scene.controls["heels"] += (0.35 if tiptoe else 0.0) * (up * np.clip(1 - np.abs(sway), 0, 1) ** 2)[:, None]
    scene.controls["pelvis"][:, 1] += (0.05 if tiptoe else 0.0) * up
    for side in (0, 1):
        scene.arm(side, up, (-0.22, 0.93, 0.05), (0.9, -0.1, 0.1), twist=-0.6, curl=0.2)
    raw = ["stretch", "stretches the arms overhead", "stretching", "stretch the upper body from side to side"]
    return Label(scene.choose(raw), "stretch", ("stretch",))


@program(PROGRAMS, "look_around")
def look_around(scene: Scene) -> Label:
    look = scene.wave(scene.uniform(0.3, 0.45)) * scene.held(0.4, 0.4)
    scene.controls["head"][:, 1] += scene.uniform(0.6, 0.9) * look
    scene.controls["spine"][:, 1] += scene.uniform(0.2, 0.4) * look
    scene.controls["hips"][:, 1] += 0.1 * look
    scene.controls["head"][:, 0] += scene.wander(0.15, 0.4)
    if scene.chance(0.4):  # shading the eyes
        scene.arm(scene.side, np.ones_like(scene.t), (-0.18, 0.5, 0.32), (0.9, -0.2, 0.3), twist=0.4, curl=0.0)
    raw = ["look around", "looks left and right", "looking for something", "look to both sides"]
    return Label(scene.choose(raw), "look around", ("look",))


@program(PROGRAMS, "pose", half_width=(0.12, 0.2), stagger=(0.0, 0.15))
def pose(scene: Scene) -> Label:
    _shift_weight(scene, 0.02)
    struck = scene.held(0.5, 0.6)
    scene.controls["hips"][:, 2] += scene.sign * 0.12 * struck
    scene.controls["spine"][:, 2] -= scene.sign * 0.16 * struck
    scene.controls["spine"][:, 1] += scene.sign * 0.3 * struck
    scene.controls["head"][:, 1] -= scene.sign * 0.3 * struck
    scene.arm(scene.side, struck, *_ON_HIP, curl=0.3)
    other = scene.choose(["head", "out", "muscle"])
    hand, pole = {
        "head": ((-0.05, 0.42, -0.02), (0.9, 0.5, 0.1)),
        "out": ((0.85, 0.35, 0.15), (0.2, -0.9, -0.4)),
        "muscle": ((0.32, 0.38, 0.1), (1.0, 0.05, 0.0)),
    }[other]
    scene.arm(1 - scene.side, struck, hand, pole, curl=0.8 if other == "muscle" else 0.1)
    raw = ["pose", "pose for a photo", "strikes a pose", "model pose"]
    return Label(scene.choose(raw), "pose", ("poses",))


@program(PROGRAMS, "reach", stagger=(0.0, 0.15))
def reach(scene: Scene) -> Label:
    level = scene.choose(["high", "middle", "low"])
    up = {"high": 0.62, "middle": 0.05, "low": -0.5}[level]
    out = np.zeros_like(scene.t)
    starts = scene.repeats(scene.uniform(1.7, 2.3))
    period = scene.duration_s / len(starts)
    for start in starts:
        out += minimum_jerk((scene.t - start - 0.05) / (0.38 * period))
        out -= minimum_jerk((scene.t - start - 0.56 * period) / (0.38 * period))
    scene.arm(scene.side, np.ones_like(scene.t), (-0.05, -0.42, 0.42), (0.5, -0.6, -0.6), curl=0.5)
    ahead = np.sqrt(0.93**2 - up**2)
    scene.arm(scene.side, out, (-0.02, up, ahead), (0.4, -0.8, -0.3), curl=0.2)
    lean = {"high": -0.08, "middle": 0.2, "low": 0.55}[level]
    scene.controls["hips"][:, 0] += lean * out
    scene.controls["spine"][:, 0] += 0.5 * lean * out
    scene.controls["spine"][:, 1] -= scene.sign * 0.25 * out
    scene.controls["pelvis"][:, 2] += (0.04 - 0.25 * max(lean, 0)) * out
    scene.controls["head"][:, 0] += (0.15 - 0.5 * up) * out
    scene.controls["heels"] += (0.25 if level == "high" else 0.0) * out[:, None]
    scene.controls["pelvis"][:, 1] += (0.035 if level == "high" else 0.0) * out
    where = {"high": "on a high shelf", "middle": "in front", "low": "on a low table"}[level]
    raw = [
        f"reach for something {where}",
        f"take an item {where}",
        f"grabs something {where} with {scene.side_name} hand",
    ]
    return Label(scene.choose(raw), "reach", ("grasp object", "take/pick something up"))
