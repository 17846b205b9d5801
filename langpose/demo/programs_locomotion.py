"""Action programs in which the legs do the work: walking in its kinds, running, jumping, kicking, turning."""

import numpy as np

from langpose.demo.footsteps import LEFT, Placement
from langpose.demo.kinematics import bump, minimum_jerk
from langpose.demo.scene import Ground, Label, Program, Scene, program

PROGRAMS: dict[str, Program] = {}


def _gait(
    scene: Scene,
    pace_s: float,
    stride_m: float,
    *,
    turn: float = 0.0,
    swing: float = 0.8,
    half_width: float = 0.065,
    height_m: float = 0.05,
    roll: float = 0.55,
    strike: float = 0.22,
    trail: tuple[float, float] = (0.0, 0.0),
) -> list[float]:
    """Step from stand to stand at one step per ``pace_s``; negative strides go backwards. Returns the landing times.

    ``turn``: radians per step; ``swing``: time in the air over the pace (above 1 both feet leave the floor);
    ``trail``: (height m, pitch) of the heel behind the body in mid-swing.
    """
    ground = scene.ground
    count = max(2, round((scene.duration_s - 0.1) / pace_s))
    pace_s = (scene.duration_s - 0.1) / (count - 1 + max(swing, 1.0))  # the steps fill the action
    foot = scene.side
    landings = []
    begin = 0.05
    for index in range(count):
        if 0 < index < count - 1:
            ground = ground.moved(forward=stride_m, turn=turn)
        elif index == 0:
            ground = ground.moved(forward=0.65 * stride_m, turn=turn / 2)
        lift = begin + index * pace_s
        closing = index == count - 1
        width = 0.1 if closing else half_width
        excursions = ((0.35, 0.35, (0.0, trail[0], 0.0), trail[1]),) if trail[0] and index != 0 else ()
        scene.step(
            foot, lift, lift + swing * pace_s, ground.foot(foot, width, 0.07), height_m=height_m,
            roll=roll * (0.5 if index == 0 else 1.0), roll_s=0.45 * pace_s, strike=0.0 if closing else strike,
            excursions=excursions,
        )  # fmt: skip
        landings.append(lift + swing * pace_s)
        foot = 1 - foot
    return landings


def _moving(scene: Scene, ramp_s: float = 0.5) -> np.ndarray:
    """(T,): 0 to 1 to 0, while the body is under way."""
    return minimum_jerk(scene.t / ramp_s) * minimum_jerk((scene.duration_s - scene.t) / ramp_s)


@program(PROGRAMS, "walk")
def walk(scene: Scene) -> Label:
    kind = scene.choose(["plain", "plain", "slow", "fast", "curve"])
    pace = {"slow": scene.uniform(0.68, 0.8), "fast": scene.uniform(0.44, 0.5)}.get(kind, scene.uniform(0.52, 0.62))
    stride = {"slow": scene.uniform(0.38, 0.48), "fast": scene.uniform(0.68, 0.78)}.get(kind, scene.uniform(0.54, 0.68))
    turn = scene.sign * scene.uniform(0.15, 0.3) if kind == "curve" else scene.uniform(-0.05, 0.05)
    _gait(scene, pace, stride * scene.build.leg_m / 0.82, turn=turn, strike=scene.uniform(0.15, 0.28))
    scene.controls["arm_swing"] = scene.uniform(0.8, 1.3)
    scene.controls["hips"][:, 0] += _moving(scene) * scene.uniform(0.02, 0.07)
    way = f"in a curve to the {scene.side_name}"
    raw = {
        "plain": ["walk forward", "walk", "walking", "walks ahead"],
        "slow": ["walks slowly", "stroll", "walk slowly forward"],
        "fast": ["walks quickly", "walk fast", "brisk walk"],
        "curve": [f"walk {way}", f"walks {way}"],
    }[kind]
    return Label(scene.choose(raw), "walk", ("walk",))


@program(PROGRAMS, "walk_backwards")
def walk_backwards(scene: Scene) -> Label:
    _gait(scene, scene.uniform(0.55, 0.7), -scene.uniform(0.3, 0.42), roll=0.2, strike=-0.15, height_m=0.06)
    scene.controls["arm_swing"] = scene.uniform(0.5, 0.8)
    scene.controls["hips"][:, 0] += 0.05 * _moving(scene)
    return Label(
        scene.choose(["walk backwards", "walks back", "step backwards slowly", "walking backward"]),
        "walk backwards", ("walk", "backwards movement"),
    )  # fmt: skip


@program(PROGRAMS, "run")
def run(scene: Scene) -> Label:
    pace, fast = scene.uniform(0.31, 0.38), scene.chance(0.5)
    stride = scene.uniform(0.85, 1.05) if fast else scene.uniform(0.6, 0.8)
    landings = _gait(
        scene, pace, stride, swing=1.25, half_width=0.05, height_m=0.08, roll=0.7, strike=0.05,
        trail=(scene.uniform(0.16, 0.26), 0.75),
    )  # fmt: skip
    moving = _moving(scene, 0.35)
    step = 2 * np.pi * (scene.t - landings[0] - 0.12) / pace
    scene.controls["pelvis"][:, 1] -= moving * (0.045 + 0.035 * np.cos(step))
    scene.controls["hips"][:, 0] += moving * scene.uniform(0.1, 0.2)
    scene.controls["arm_swing"] = scene.uniform(0.75, 0.95)
    for side in (0, 1):
        scene.arm(side, moving, (0.08, -0.58, 0.34), (0.3, -0.55, -0.8), curl=0.8)
    raw = ["run", "runs fast", "run forward", "sprint"] if fast else ["jog", "jogs forward", "running", "jog slowly"]
    return Label(scene.choose(raw), "run" if fast else "jog", ("run",) if fast else ("run", "jog"))


@program(PROGRAMS, "walk_in_place")
def walk_in_place(scene: Scene) -> Label:
    pace, high = scene.uniform(0.45, 0.6), scene.uniform(0.16, 0.34)
    marching = high > 0.24
    foot, ground = scene.side, scene.ground
    for index in range(max(2, int((scene.duration_s - 0.1) / pace))):
        lift = 0.02 + index * pace
        scene.step(
            foot, lift, lift + 0.85 * pace, ground.foot(foot, 0.1), height_m=0.02, roll=0.3, roll_s=0.1, strike=0.0,
            excursions=((0.5, 0.5, (0.0, high, 0.5 * high), 0.25),),
        )  # fmt: skip
        foot = 1 - foot
    scene.controls["arm_swing"] = scene.uniform(1.6, 2.4)  # the feet hardly part: the arms do it by themselves
    swing = scene.wave(0.5 / pace) * _moving(scene, 0.3) * (0.35 if marching else 0.2)
    for side, sign in enumerate((1.0, -1.0)):
        scene.controls[("left_hand", "right_hand")[side]][:, 2] += sign * swing
        scene.controls[("left_hand", "right_hand")[side]][:, 1] += 0.3 * np.abs(swing)
    raw = ["march in place", "marches on the spot", "knees up on the spot"]
    if not marching:
        raw = ["walk in place", "steps on the spot", "walking on the spot"]
    return Label(scene.choose(raw), "march" if marching else "walk in place", ("march",) if marching else ("walk",))


@program(PROGRAMS, "step_aside")
def step_aside(scene: Scene) -> Label:
    pace, far = scene.uniform(0.45, 0.6), scene.uniform(0.28, 0.45)
    ground, back = scene.ground, scene.chance(0.4)
    pairs = max(1, int(scene.duration_s / (2 * pace)))
    for pair in range(pairs):
        towards = scene.sign * (-1 if back and pair >= (pairs + 1) // 2 else 1)
        ground = ground.moved(left=towards * far)
        lead = LEFT if towards > 0 else 1 - LEFT
        for k, foot in enumerate((lead, 1 - lead)):
            lift = (2 * pair + k) * pace + 0.03
            scene.step(foot, lift, lift + 0.8 * pace, ground.foot(foot, 0.1), height_m=0.07, roll=0.25, strike=0.05)
    scene.controls["arm_swing"] = 0.5
    for side in (0, 1):
        scene.arm(side, _moving(scene, 0.4) * 0.6, (0.35, -0.85, 0.2))
    named = scene.side_name
    raw = [f"step to the {named}", f"side steps to the {named}", f"moves sideways to the {named}", "sidestep"]
    return Label(scene.choose(raw), f"step {named}", ("step", "sideways movement"))


@program(PROGRAMS, "turn")
def turn(scene: Scene) -> Label:
    total = scene.uniform(1.3, 3.3)
    pace = scene.uniform(0.4, 0.5)
    count = max(2, min(2 * int(np.ceil(total / 0.9)), int((scene.duration_s - 0.1) / pace)))
    total = min(total, count * 0.55)
    ground, foot = scene.ground, scene.side
    begin = scene.uniform(0.05, 0.15)
    for index in range(count):
        if index % 2 == 0:
            ground = ground.moved(turn=scene.sign * total / ((count + 1) // 2))
        lift = begin + index * pace
        scene.step(foot, lift, lift + 0.8 * pace, ground.foot(foot, 0.11), height_m=0.06, roll=0.3, strike=0.0)
        foot = 1 - foot
    turning = bump((scene.t - begin + 0.3) / (count * pace + 0.5))  # the head goes first
    scene.controls["head"][:, 1] += scene.sign * 0.55 * turning
    scene.controls["spine"][:, 1] += scene.sign * 0.3 * turning
    scene.controls["arm_swing"] = 0.6
    for side in (0, 1):
        scene.arm(side, 0.5 * turning, (0.4, -0.87, 0.12))
    named = scene.side_name
    around = total > 2.4
    raw = ["turn around", f"turns around to the {named}"] if around else [f"turn {named}", f"turns to the {named}"]
    return Label(scene.choose(raw), "turn around" if around else f"turn {named}", ("turn",))


def _take_off(
    scene: Scene, at: float, up_m: float, placements: list[Placement], spread: float = 0.0
) -> tuple[float, float]:
    """Both feet leave the floor at ``at`` and land as a thrown body of that rise does; returns (lift, land) seconds."""
    flight = 2 * np.sqrt(2 * up_m / 9.81)
    for foot in (0, 1):
        scene.step(
            foot, at, at + flight, placements[foot], height_m=up_m + 0.03, roll=0.75, roll_s=0.14, strike=0.0,
            excursions=((0.4, 0.35, (0.0, 0.04, 0.0), 0.2),),
        )  # fmt: skip
    u = np.clip((scene.t - at) / flight, 0, 1)
    scene.controls["pelvis"][:, 1] += 4 * up_m * u * (1 - u)
    stretch = bump((scene.t - at + 0.16) / 0.32)
    scene.controls["pelvis"][:, 1] += 0.06 * stretch * (1 - spread)
    landing = bump((scene.t - at - flight + 0.16) / 0.32)
    scene.controls["pelvis"][:, 1] += 0.03 * landing * (1 - spread)
    return at, at + float(flight)


@program(PROGRAMS, "jump", half_width=(0.1, 0.16))
def jump(scene: Scene) -> Label:
    far = scene.uniform(0.25, 0.6) if scene.chance(0.4) else 0.0
    ground, deep = scene.ground, scene.uniform(0.16, 0.28)
    starts = scene.repeats(scene.uniform(1.15, 1.5))
    for start in starts:
        at = start + 0.42 * scene.duration_s / len(starts)
        start = max(start, at - 0.65)
        ground = ground.moved(forward=far)
        _, land = _take_off(scene, at, scene.uniform(0.14, 0.3), [ground.foot(f, 0.13) for f in (0, 1)])
        times = [start, at - 0.26, at, land, land + 0.16, land + 0.5]
        crouch = scene.keys(times, [0, 1, 0, 0, 0.75, 0])
        scene.controls["pelvis"][:, 1] -= deep * crouch
        scene.controls["pelvis"][:, 2] -= 0.05 * crouch
        scene.controls["hips"][:, 0] += 0.5 * crouch
        scene.controls["spine"][:, 0] += 0.25 * crouch
        hand = scene.keys(
            times,
            [
                (0.16, -0.95, 0.1), (0.2, -0.8, -0.5), (0.2, 0.25, 0.85), (0.3, -0.5, 0.6), (0.3, -0.7, 0.4),
                (0.16, -0.95, 0.1),
            ],
        )  # fmt: skip
        inside = ((scene.t >= start) & (scene.t <= land + 0.5)).astype(float)
        for side in (0, 1):
            scene.arm(side, inside, hand)
    scene.controls["arm_swing"] = 0.0
    raw = (
        ["jump forward", "jumps ahead", "leap forward"]
        if far
        else ["jump", "jumps up", "jump in place", "hops up high"]
    )
    return Label(scene.choose(raw), "jump forward" if far else "jump", ("jump",))


@program(PROGRAMS, "jumping_jacks", half_width=(0.08, 0.11))
def jumping_jacks(scene: Scene) -> Label:
    ground, wide = scene.ground, scene.uniform(0.26, 0.34)
    half = scene.uniform(0.44, 0.54)
    count = max(2, 2 * int((scene.duration_s - 0.15) / (2 * half)))
    opened = np.zeros_like(scene.t)
    for index in range(count):
        at = 0.12 + index * half
        opening = index % 2 == 0
        _, land = _take_off(scene, at, 0.05, [ground.foot(f, wide if opening else 0.1) for f in (0, 1)], spread=1.0)
        opened += (1 if opening else -1) * minimum_jerk((scene.t - at + 0.08) / (land - at + 0.16))
        for moment in (at - 0.06, land + 0.08):
            dip = bump((scene.t - moment + 0.13) / 0.26)
            scene.controls["pelvis"][:, 1] -= 0.045 * dip
    angle = opened[:, None] * scene.uniform(2.5, 2.8) + 0.18
    hand = 0.95 * np.concatenate([np.sin(angle), -np.cos(angle), np.full_like(angle, 0.12)], -1)
    for side in (0, 1):
        scene.arm(side, np.ones_like(scene.t), hand, (0.5, -0.3, -0.8))
    scene.controls["arm_swing"] = 0.0
    raw = scene.choose(["jumping jacks", "does jumping jacks", "jumping jack exercise"])
    return Label(raw, "jumping jacks", ("jump", "exercise/training"))


@program(PROGRAMS, "kick", stagger=(0.0, 0.18))
def kick(scene: Scene) -> Label:
    foot, high = scene.side, scene.uniform(0.25, 0.75)
    ground = scene.ground
    # Without a rest between: the standing leg carries all the weight, the trunk leans away from the kick.
    for start in scene.repeats(scene.uniform(1.2, 1.6)):
        lift, land = start + 0.25, start + 1.12
        back, strike = scene.uniform(0.25, 0.4), scene.uniform(0.8, 1.0)
        scene.step(
            foot, lift, land, ground.foot(foot, 0.11, forward=-0.04), height_m=0.04, roll=0.5, roll_s=0.15, strike=0.0,
            excursions=(
                (0.24, 0.24, (0.0, 0.18, -back), 0.5),
                (0.56, 0.26, (0.0, high, strike), -0.25 - 0.5 * high),
            ),
        )  # fmt: skip
        hit = lift + 0.56 * (land - lift)
        over = bump((scene.t - lift + 0.15) / (land - lift + 0.3))
        scene.controls["pelvis"][:, 0] -= scene.sign * 0.045 * over
        scene.controls["pelvis"][:, 1] -= 0.015 * over
        thrust = bump((scene.t - hit + 0.3) / 0.6)
        scene.controls["hips"][:, 0] -= (0.12 + 0.25 * high) * thrust
        scene.controls["hips"][:, 1] -= scene.sign * 0.25 * thrust
        scene.controls["spine"][:, 0] += 0.2 * thrust
        scene.controls["pelvis"][:, 2] += 0.05 * thrust
        scene.arm(1 - foot, over * 0.6, (0.35, -0.6, 0.5), curl=0.6)
        scene.arm(foot, over * 0.6, (0.55, -0.7, -0.2), curl=0.6)
    scene.controls["arm_swing"] = 0.35
    side = scene.side_name
    raw = [f"kick with the {side} leg", f"kicks with {side} foot", f"{side} leg kick", f"kick forward with {side} leg"]
    return Label(scene.choose(raw), f"kick with {side} leg", ("kick",))


@program(PROGRAMS, "lunge")
def lunge(scene: Scene) -> Label:
    foot = scene.side
    period = min(scene.uniform(1.7, 2.1), scene.duration_s)  # back on the floor when the action ends
    ground = scene.ground
    scene.controls["arm_swing"] = 0.3
    for start in scene.repeats(period):
        out, far = start + 0.1, scene.uniform(0.6, 0.8)
        back = start + period - 0.65
        there = Ground(ground.x, ground.z, ground.yaw).moved(forward=far)
        scene.step(foot, out, out + 0.45, there.foot(foot, 0.1), height_m=0.09, roll=0.3, strike=0.15)
        scene.step(foot, back, back + 0.45, ground.foot(foot, 0.1), height_m=0.09, roll=0.2, strike=0.0)
        down = minimum_jerk((scene.t - out - 0.25) / 0.5) * (1 - minimum_jerk((scene.t - back + 0.3) / 0.5))
        scene.controls["pelvis"][:, 1] -= down * scene.uniform(0.2, 0.3)
        scene.controls["pelvis"][:, 2] += down * 0.06
        scene.controls["spine"][:, 0] += 0.1 * down
        for side in (0, 1):
            scene.arm(side, down, (0.12, -0.66, -0.02), (0.9, -0.2, -0.6), curl=0.2)
        scene.controls["heels"][:, 1 - foot] += 0.65 * down  # the foot that stays rises on its ball
    named = scene.side_name
    raw = [f"lunge with the {named} leg", f"lunges forward on {named} leg", "lunge forward", "does a lunge"]
    return Label(scene.choose(raw), "lunge", ("lunge", "exercise/training"))
