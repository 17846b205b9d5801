"""Action programs in which the arms do the work: waving, pointing, throwing, talking with the hands."""

import numpy as np

from langpose.demo.kinematics import bump, minimum_jerk
from langpose.demo.scene import Ground, Label, Program, Scene, program

PROGRAMS: dict[str, Program] = {}


@program(PROGRAMS, "wave")
def wave(scene: Scene) -> Label:
    up, high = scene.held(0.45, 0.5), scene.uniform(0.3, 0.75)
    beat = scene.wave(scene.uniform(1.2, 2.0)) * minimum_jerk((scene.t + 0.2) / 0.4)
    sides = (0, 1) if scene.chance(0.15) else (scene.side,)
    for side in sides:
        hand = np.stack([0.3 + scene.uniform(0.16, 0.26) * beat, high - 0.06 * beat**2, np.full_like(beat, 0.22)], -1)
        scene.arm(side, up, hand, (0.75, -0.65, -0.1), twist=0.9, flex=0.0, curl=0.0)
    scene.controls["head"][:, 2] -= scene.sign * 0.08 * up
    scene.controls["spine"][:, 2] += scene.sign * 0.05 * up
    if len(sides) == 2:
        return Label(scene.choose(["wave with both hands", "waves both arms"]), "wave both hands", ("wave", "greet"))
    named = scene.side_name
    raw = [
        f"wave with the {named} hand",
        f"waves {named} hand",
        f"waving the {named} arm",
        f"say hello with {named} hand",
    ]
    return Label(scene.choose(raw), f"wave {named} hand", ("wave", "greet"))


@program(PROGRAMS, "point")
def point(scene: Scene) -> Label:
    turns = scene.repeats(scene.uniform(1.6, 2.2))
    period = scene.duration_s / len(turns)
    for start in turns:
        out = minimum_jerk((scene.t - start) / (0.3 * period))
        out = out - minimum_jerk((scene.t - start - 0.68 * period) / (0.3 * period))
        azimuth, height = scene.uniform(-0.3, 1.3), scene.uniform(-0.15, 0.4)
        level = np.sqrt(1 - height**2)
        hand = 0.97 * np.array([np.sin(azimuth) * level, height, np.cos(azimuth) * level])
        scene.arm(scene.side, out, hand, (0.3, -0.9, -0.2), twist=0.3, curl=0.5)
        scene.controls["head"][:, 1] += scene.sign * 0.6 * azimuth * out
        scene.controls["spine"][:, 1] += scene.sign * 0.2 * (azimuth - 0.3) * out
    side = scene.side_name
    raw = [f"point with the {side} hand", "give directions", f"points ahead with {side} arm", "point at something"]
    return Label(scene.choose(raw), f"point with {side} hand", ("point", "gesture"))


@program(PROGRAMS, "raise_arms", half_width=(0.09, 0.16))
def raise_arms(scene: Scene) -> Label:
    both = scene.chance(0.6)
    sideways = scene.chance(0.5)
    period = scene.uniform(1.8, 2.6)
    starts = scene.repeats(period)
    period = scene.duration_s / len(starts)
    raised = np.zeros_like(scene.t)
    for start in starts:
        raised += minimum_jerk((scene.t - start - 0.02) / (0.4 * period))
        raised -= minimum_jerk((scene.t - start - 0.58 * period) / (0.4 * period))
    angle = 0.15 + (scene.uniform(2.5, 3.0) - 0.15) * raised
    out, forward = (np.sin(angle), np.full_like(angle, 0.1)) if sideways else (np.full_like(angle, 0.1), np.sin(angle))
    hand = 0.97 * np.stack([out, -np.cos(angle), forward], -1)
    pole = (0.4, -0.3, -0.85) if sideways else (0.8, -0.3, -0.5)
    for side in (0, 1) if both else (scene.side,):
        scene.arm(side, np.ones_like(scene.t), hand, pole, curl=0.1)
    scene.controls["spine"][:, 0] -= 0.1 * raised
    scene.controls["head"][:, 0] -= 0.2 * raised
    if both:
        raw = ["raise both arms", "raises arms above the head", "lift the arms", "arms up and down"]
        return Label(scene.choose(raw), "raise arms", ("raising body part", "arm movements"))
    named = scene.side_name
    raw = [f"raise the {named} arm", f"raises {named} hand", f"lift the {named} arm up"]
    return Label(scene.choose(raw), f"raise {named} arm", ("raising body part", "arm movements"))


@program(PROGRAMS, "arm_circles", half_width=(0.1, 0.18))
def arm_circles(scene: Scene) -> Label:
    rate, backwards = scene.uniform(0.7, 1.1), scene.chance(0.5)
    angle = 2 * np.pi * rate * scene.t * (-1 if backwards else 1) + scene.uniform(0, 6.28)
    big = scene.chance(0.5)
    if big:  # the whole arm, in the sagittal plane
        hand = np.stack([0.4 - 0.25 * np.sin(angle), -0.9 * np.cos(angle), 0.85 * np.sin(angle)], -1)
        hand[:, 2] = np.where(hand[:, 2] < 0, 0.6, 1.0) * hand[:, 2]
    else:  # held out sideways
        hand = np.stack([np.full_like(angle, 0.88), 0.05 + 0.3 * np.cos(angle), 0.3 * np.sin(angle)], -1)
    for side in (0, 1):
        scene.arm(side, scene.held(0.4, 0.4), hand, (0.5, -0.4, -0.75), curl=0.1)
    scene.controls["spine"][:, 0] += 0.04 * np.sin(angle)
    way = "backward" if backwards else "forward"
    raw = ["arm circles", f"circles the arms {way}", f"rotate arms {way}", "swing the arms in circles"]
    return Label(scene.choose(raw), "arm circles", ("arm movements", "circular movement"))


@program(PROGRAMS, "clap")
def clap(scene: Scene) -> Label:
    up = scene.held(0.4, 0.45)
    apart = (0.5 + 0.5 * scene.wave(scene.uniform(1.6, 2.6))) ** 1.5 * scene.uniform(0.25, 0.5)
    high = scene.uniform(-0.25, 0.1)
    hand = np.stack([-0.27 + apart, np.full_like(apart, high), 0.62 - 0.2 * apart], -1)
    for side in (0, 1):
        scene.arm(side, up, hand, (0.8, -0.75, -0.1), twist=-0.3, curl=0.05)
    raw = ["clap", "claps hands", "clapping", "applaud", "clap the hands together"]
    return Label(scene.choose(raw), "clap", ("clap", "hand movements"))


@program(PROGRAMS, "throw", half_width=(0.11, 0.16), stagger=(0.2, 0.32))
def throw(scene: Scene) -> Label:
    side, overhand = scene.side, scene.chance(0.75)
    foot = 1 - side
    for start in scene.repeats(scene.uniform(1.5, 2.0)):
        at = start + 0.95
        times = [start, at - 0.35, at - 0.16, at, at + 0.2, at + 0.5]
        if overhand:
            hands = [
                (-0.05, -0.35, 0.5), (0.42, 0.38, -0.28), (0.32, 0.5, -0.1), (0.05, 0.5, 0.8), (-0.35, -0.4, 0.7),
                (-0.05, -0.7, 0.45),
            ]  # fmt: skip
            pole = [
                (0.6, -0.6, -0.5),
                (0.9, -0.35, 0.0),
                (0.9, 0.0, 0.3),
                (0.8, -0.2, -0.1),
                (0.8, 0.1, -0.3),
                (0.5, -0.5, -0.7),
            ]
        else:
            hands = [
                (-0.05, -0.55, 0.5), (0.15, -0.75, -0.6), (0.12, -0.92, -0.2), (0.0, -0.45, 0.85), (-0.1, 0.3, 0.85),
                (0.0, -0.7, 0.4),
            ]  # fmt: skip
            pole = [(0.4, -0.5, -0.8)] * 3 + [(0.4, -0.85, -0.3)] * 2 + [(0.4, -0.5, -0.8)]
        inside = minimum_jerk((scene.t - start + 0.2) / 0.3) * minimum_jerk((at + 0.7 - scene.t) / 0.3)
        grip = 0.3
        scene.arm(side, inside, scene.keys(times, hands), scene.keys(times, pole), curl=grip)
        other = scene.keys(
            times,
            [
                (0.0, -0.6, 0.4),
                (0.1, 0.2, 0.8),
                (0.2, 0.1, 0.75),
                (0.25, -0.5, 0.3),
                (0.3, -0.7, -0.1),
                (0.2, -0.9, 0.1),
            ],
        )
        scene.arm(1 - side, inside, other, (0.5, -0.7, -0.5))
        wind = scene.keys(times, [0, -1, -0.6, 0.6, 0.9, 0])
        scene.controls["spine"][:, 1] += scene.sign * -0.55 * -wind * -1
        scene.controls["hips"][:, 1] += scene.sign * -0.35 * -wind * -1
        scene.controls["pelvis"][:, 2] += 0.1 * wind
        scene.controls["spine"][:, 0] += 0.3 * np.clip(wind, -0.4, 1)
        scene.controls["pelvis"][:, 1] -= 0.05 * np.abs(wind)
        if scene.chance(0.6):  # with a step
            ground = Ground.between(scene.feet)
            ahead = scene.feet[foot]
            there = Ground(ahead.x, ahead.z, ground.yaw).moved(forward=scene.uniform(0.0, 0.12))
            scene.step(
                foot, at - 0.5, at - 0.14, type(ahead)(there.x, there.z, ahead.yaw), height_m=0.1, roll=0.3,
                roll_s=0.12, strike=0.1,
            )  # fmt: skip
    scene.controls["arm_swing"] = 0.0
    name = scene.side_name
    way = "overhand" if overhand else "underhand"
    raw = [f"throw with the {name} hand", f"throws a ball {way}", f"{way} throw with {name} arm", "throw something"]
    return Label(scene.choose(raw), f"throw with {name} hand", ("throw",))


@program(PROGRAMS, "punch", half_width=(0.11, 0.15), stagger=(0.18, 0.3))
def punch(scene: Scene) -> Label:
    guard, guard_pole = np.array([-0.16, 0.05, 0.45]), np.array([0.45, -0.85, 0.0])
    still = np.ones_like(scene.t)
    for side in (0, 1):
        scene.arm(side, still, guard, guard_pole, curl=1.0)
    alternate = scene.chance(0.5)
    bounce = scene.wave(scene.uniform(1.3, 1.8))
    scene.controls["pelvis"][:, 1] -= 0.05 + 0.015 * bounce
    scene.controls["spine"][:, 0] += 0.15
    side = scene.side
    for start in scene.repeats(scene.uniform(0.75, 1.0)):
        begin = start + scene.uniform(0.05, 0.15)
        times = [begin, begin + 0.22, begin + 0.3, begin + 0.58]
        out = scene.keys(times, [0, 1, 1, 0])
        high = scene.uniform(-0.1, 0.22)
        scene.arm(side, out, (-0.18, high, 0.95), (0.8, -0.6, 0.0), twist=0.6, curl=1.0)
        towards = -1.0 if side == 0 else 1.0  # the punching shoulder goes forward
        scene.controls["spine"][:, 1] += 0.4 * towards * out
        scene.controls["hips"][:, 1] += 0.25 * towards * out
        scene.controls["pelvis"][:, 2] += 0.05 * out
        side = 1 - side if alternate else side
    scene.controls["arm_swing"] = 0.0
    name = scene.side_name
    raw = (
        ["punch with both fists", "boxing", "throws punches"]
        if alternate
        else [f"punch with the {name} fist", f"{name} jab"]
    )
    proc = "punch" if alternate else f"punch with {name} hand"
    return Label(scene.choose([*raw, "punch"]), proc, ("punch", "martial art"))


@program(PROGRAMS, "discuss")
def discuss(scene: Scene) -> Label:
    lively = scene.uniform(0.7, 1.3)
    for side in (0, 1):
        rate = scene.uniform(0.7, 1.1)
        base = np.array([scene.uniform(-0.1, 0.15), scene.uniform(-0.5, -0.3), scene.uniform(0.45, 0.6)])
        move = np.stack([scene.wander(0.14, rate), scene.wander(0.13, rate), scene.wander(0.09, rate)], -1)
        active = 0.75 + 0.25 * scene.wave(0.25)
        scene.arm(side, active, base + lively * move, (0.6, -0.8, -0.35), twist=scene.wander(0.4, rate) - 0.5, curl=0.2)
    scene.controls["head"][:, 0] += scene.wander(0.1, 0.9)
    scene.controls["head"][:, 1] += scene.wander(0.2, 0.4)
    scene.controls["spine"][:, 1] += scene.wander(0.1, 0.4)
    scene.controls["spine"][:, 0] += scene.wander(0.05, 0.4)
    raw = ["discuss", "talk and gesture with both hands", "explains something with the hands", "have a conversation"]
    return Label(scene.choose(raw), "discuss", ("communicate (vocalise)", "gesture"))


@program(PROGRAMS, "greet")
def greet(scene: Scene) -> Label:
    side = scene.side
    if scene.chance(0.5):
        out = scene.held(0.5, 0.5)
        shake = scene.wave(scene.uniform(1.5, 2.2)) * minimum_jerk((scene.t - 0.3) / 0.3)
        hand = np.stack([np.full_like(out, -0.12), -0.38 + 0.09 * shake, np.full_like(out, 0.72)], -1)
        scene.arm(side, out, hand, (0.5, -0.85, -0.35), curl=0.5)
        scene.controls["spine"][:, 0] += 0.12 * out
        scene.controls["spine"][:, 1] -= scene.sign * 0.2 * out
        raw = ["shake hands", f"handshake with the {scene.side_name} hand", "greets with a handshake"]
        return Label(scene.choose(raw), "shake hands", ("greet", "shake hands"))
    for start in scene.repeats(scene.uniform(1.7, 2.3)):
        bow = bump((scene.t - start) / 1.6)
        scene.controls["hips"][:, 0] += scene.uniform(0.35, 0.6) * bow
        scene.controls["spine"][:, 0] += 0.25 * bow
        scene.controls["head"][:, 0] += 0.25 * bow
        scene.controls["pelvis"][:, 2] -= 0.09 * bow
        for arm in (0, 1):
            scene.arm(arm, bow, (0.02, -0.96, 0.15), curl=0.1)
    raw = ["bow", "bows to greet", "greet with a bow", "takes a bow"]
    return Label(scene.choose(raw), "bow", ("greet", "bow"))


@program(PROGRAMS, "dance", half_width=(0.12, 0.18))
def dance(scene: Scene) -> Label:
    beat, phase = scene.uniform(0.85, 1.1), scene.uniform(0, 6.28)
    angle = 2 * np.pi * beat * scene.t + phase
    side, double = np.sin(angle), np.cos(2 * angle)
    scene.controls["pelvis"][:, 0] += 0.07 * side
    scene.controls["pelvis"][:, 1] -= 0.05 + 0.035 * double
    scene.controls["hips"][:, 2] += 0.13 * side
    scene.controls["hips"][:, 1] += 0.2 * np.sin(angle + 0.8)
    scene.controls["spine"][:, 2] -= 0.2 * side
    scene.controls["spine"][:, 1] -= 0.35 * np.sin(angle + 0.8)
    scene.controls["head"][:, 0] += 0.08 * double
    high = scene.uniform(-0.4, 0.6)
    for arm, sign in enumerate((1.0, -1.0)):
        hand = np.stack(
            [
                0.25 + 0.12 * np.cos(angle),
                high + 0.25 * sign * side + 0.05 * double,
                0.45 - 0.12 * sign * np.cos(angle),
            ],
            -1,
        )
        scene.arm(arm, np.ones_like(angle), hand, (0.9, -0.6, -0.2), curl=0.6)
    scene.controls["arm_swing"] = 0.3
    for index in range(int(scene.duration_s * beat * 2)):  # small steps on the beat, onto the free foot
        lift = (index + 0.5 - phase / np.pi) / (2 * beat)
        foot = index % 2
        free = 0.34 / beat
        if lift > 0.1 and lift + free < scene.duration_s:
            scene.step(foot, lift, lift + free, scene.feet[foot], height_m=0.05, roll=0.35, roll_s=0.12, strike=0.0)
    raw = ["dance", "dancing", "dances to music", "dance moves"]
    return Label(scene.choose(raw), "dance", ("dance",))
