"""Action programs with things in the hands, and walks that are for company: eating, phoning, taking photos."""

import numpy as np

from langpose.demo.kinematics import bump, minimum_jerk
from langpose.demo.programs_locomotion import walk
from langpose.demo.scene import Label, Program, Scene, program

PROGRAMS: dict[str, Program] = {}

_AT_MOUTH = ((-0.24, 0.2, 0.45), (0.75, -0.75, 0.1))
_AT_EAR = ((-0.13, 0.27, 0.17), (0.75, -0.65, 0.35))
_BEFORE_CHEST = ((-0.05, -0.42, 0.5), (0.55, -0.8, -0.4))


def _visits(scene: Scene, period_s: float, hold: float) -> np.ndarray:
    """(T,): 0 to 1 and back, again and again, away for ``hold`` of the time."""
    there = np.zeros_like(scene.t)
    starts = scene.repeats(period_s)
    period_s = scene.duration_s / len(starts)
    takes = 0.5 * (0.95 - hold) * period_s
    for start in starts:
        there += minimum_jerk((scene.t - start) / takes)
        there -= minimum_jerk((scene.t - start - takes - hold * period_s) / takes)
    return there


@program(PROGRAMS, "drink")
def drink(scene: Scene) -> Label:
    side = scene.side
    scene.arm(side, np.ones_like(scene.t), *_BEFORE_CHEST, curl=0.7)
    up = _visits(scene, scene.uniform(2.0, 3.0), scene.uniform(0.3, 0.45))
    scene.arm(side, up, *_AT_MOUTH, twist=0.3, curl=0.7)
    scene.controls["head"][:, 0] -= scene.uniform(0.3, 0.5) * np.clip(up * 1.6 - 0.6, 0, 1) ** 2
    scene.controls["spine"][:, 0] -= 0.06 * up
    raw = ["drink", f"drinks with the {scene.side_name} hand", "drink from a cup", "take a sip of water"]
    return Label(scene.choose(raw), "drink", ("drink",))


@program(PROGRAMS, "eat")
def eat(scene: Scene) -> Label:
    side = scene.side
    still = np.ones_like(scene.t)
    scene.arm(1 - side, still, (-0.1, -0.48, 0.5), _BEFORE_CHEST[1], curl=0.5)
    scene.arm(side, still, (-0.22, -0.4, 0.55), _BEFORE_CHEST[1], curl=0.6)
    up = _visits(scene, scene.uniform(1.0, 1.5), scene.uniform(0.1, 0.2))
    scene.arm(side, up, (-0.26, 0.14, 0.42), _AT_MOUTH[1], twist=0.1, curl=0.6)
    scene.controls["head"][:, 0] += 0.25 + 0.06 * scene.wave(1.6) - 0.1 * up
    scene.controls["spine"][:, 0] += 0.1
    raw = ["eat", f"eats with the {scene.side_name} hand", "eating a meal", "bring food to the mouth"]
    return Label(scene.choose(raw), "eat", ("eat",))


@program(PROGRAMS, "smoke")
def smoke(scene: Scene) -> Label:
    side = scene.side
    scene.arm(side, np.ones_like(scene.t), (0.15, -0.62, 0.38), (0.4, -0.7, -0.6), curl=0.4)
    up = _visits(scene, scene.uniform(2.0, 2.8), scene.uniform(0.15, 0.3))
    scene.arm(side, up, (-0.28, 0.2, 0.36), (0.95, -0.5, 0.2), twist=0.8, curl=0.3)
    if scene.chance(0.5):  # the other arm supports or rests in a pocket
        scene.arm(1 - side, np.ones_like(scene.t), (-0.35, -0.55, 0.38), (0.8, -0.5, -0.2))
    shift = scene.wander(1.0, 0.2)
    scene.controls["pelvis"][:, 0] += 0.04 * shift
    scene.controls["hips"][:, 2] += 0.06 * shift
    scene.controls["head"][:, 1] += scene.wander(0.2, 0.3)
    scene.controls["head"][:, 0] -= 0.15 * np.roll(up, 0)
    raw = ["smoke", "smoking a cigarette", f"smokes with the {scene.side_name} hand"]
    return Label(scene.choose(raw), "smoke", ("smoke",))


@program(PROGRAMS, "phone")
def phone(scene: Scene) -> Label:
    side = scene.side
    up = scene.held(0.7, 0.6)
    scene.arm(side, up, *_AT_EAR, twist=-0.4, curl=0.6)
    scene.controls["head"][:, 2] -= scene.sign * 0.15 * up
    scene.controls["head"][:, 1] += scene.wander(0.25, 0.3)
    scene.controls["spine"][:, 1] += scene.wander(0.15, 0.3)
    talk = scene.choose(["still", "gesture", "pocket"])
    if talk == "gesture":
        move = np.stack([scene.wander(0.12, 0.8), scene.wander(0.15, 0.8), scene.wander(0.08, 0.8)], -1)
        scene.arm(1 - side, up, np.array([0.08, -0.45, 0.5]) + move, (0.6, -0.8, -0.3))
    elif talk == "pocket":
        scene.arm(1 - side, up, (0.04, -0.82, 0.08), (0.7, 0.0, -0.7))
    shift = scene.wander(1.0, 0.25)
    scene.controls["pelvis"][:, 0] += 0.05 * shift
    scene.controls["hips"][:, 2] += 0.06 * shift
    name = scene.side_name
    raw = [
        "talk on the phone",
        f"hold a phone to the {name} ear",
        f"phoning with the {name} hand",
        "makes a phone call",
    ]
    return Label(scene.choose(raw), "talk on phone", ("telephone call", "communicate (vocalise)"))


@program(PROGRAMS, "photo")
def photo(scene: Scene) -> Label:
    up = scene.held(0.8, 0.7)
    high = scene.uniform(0.28, 0.42)
    for side in (0, 1):
        scene.arm(side, up, (-0.2, high, 0.5), (0.7, -0.85, 0.0), twist=-0.5, curl=0.6)
    scene.controls["spine"][:, 0] += 0.08 * up
    aim = scene.wander(1.0, 0.25)
    scene.controls["spine"][:, 1] += 0.2 * aim * up
    crouch = scene.uniform(0.0, 0.12) * bump(scene.t / scene.duration_s)
    scene.controls["pelvis"][:, 1] -= crouch
    scene.controls["hips"][:, 0] += 1.5 * crouch
    scene.controls["spine"][:, 1] += 0.0
    raw = ["take a photo", "takes a picture with a camera", "hold a camera to the eyes", "photograph something"]
    return Label(scene.choose(raw), "take a photo", ("take photo", "look"))


@program(PROGRAMS, "walk_dog")
def walk_dog(scene: Scene) -> Label:
    walk(scene)
    tug = scene.wander(0.08, 0.9)
    out = np.stack([0.12 + scene.wander(0.06, 0.5), -0.72 + 0.5 * tug, 0.55 + tug], -1)
    scene.arm(scene.side, np.ones_like(scene.t), out, (0.4, -0.6, -0.7), curl=1.0)
    scene.controls["spine"][:, 0] -= 0.06 - 0.1 * tug
    scene.controls["head"][:, 0] += 0.25
    scene.controls["arm_swing"] = 0.6
    raw = ["walk the dog", "walks with a dog on a leash", f"walk holding a leash in the {scene.side_name} hand"]
    return Label(scene.choose(raw), "walk dog", ("walk", "grasp object"))


@program(PROGRAMS, "walk_together")
def walk_together(scene: Scene) -> Label:
    walk(scene)
    talk = scene.held(0.5, 0.5) * (0.75 + 0.25 * scene.wave(0.35))
    scene.controls["head"][:, 1] += scene.sign * 0.75 * talk
    scene.controls["spine"][:, 1] += scene.sign * 0.15 * talk
    move = np.stack([scene.wander(0.1, 0.8), scene.wander(0.12, 0.8), scene.wander(0.08, 0.8)], -1)
    scene.arm(1 - scene.side, talk, np.array([0.1, -0.55, 0.5]) + move, (0.6, -0.8, -0.3))
    raw = ["walk together with a friend", f"walk and talk to someone on the {scene.side_name}", "walks side by side"]
    return Label(scene.choose(raw), "walk together", ("walk", "communicate (vocalise)"))
