"""The demo's raw data: procedural motion by a cast of drawn bodies, in the licensed sets' true formats.

AMASS and BABEL, Human3.6M and MPI-INF-3DHP are performed by different people, all by one seed. Joints are regressed
from the stand-in body through langpose.body, as AMASS's are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from langpose.body import ReducedBody
from langpose.demo import anatomy
from langpose.demo.amass_files import AmassSequence, Style, write_sequence, write_shape
from langpose.demo.babel_files import OLD_FOLDERS, LabelledSequence, Split, write_babel
from langpose.demo.choreography import ACTIONS, SHORTEST_S, perform
from langpose.demo.standin_body import write_standin_body
from langpose.filming import FilmConfig, Take, write_human36m, write_mpi_inf_3dhp
from langpose.sources.human36m import FILE_NAME
from langpose.storage import replacing_folder

HUMAN36M_ACTIONS: dict[str, tuple[str, ...]] = {
    "Direction": ("point", "walk_in_place", "look_around"),
    "Discuss": ("discuss", "stand"),
    "Eating": ("eat", "drink"),
    "Greet": ("greet", "wave"),
    "Phone": ("phone",),
    "Photo": ("photo", "bend"),
    "Pose": ("pose", "stretch"),
    "Purchase": ("reach", "pick_up"),
    "Sitting": ("sitting",),
    "SittingDown": ("sit_down",),
    "Smoke": ("smoke", "stand"),
    "Wait": ("wait", "look_around"),
    "Walk": ("walk", "turn"),
    "WalkDog": ("walk_dog",),
    "WalkTwo": ("walk_together",),
}
"""Human3.6M's actions -> what the demo's people do for them."""

HUMAN36M_TRAIN, HUMAN36M_TEST = (1, 5, 6, 7, 8), (9, 11)
MPI_PROGRAMS = ("walk", "kick", "throw", "punch", "squat", "sit_down", "dance", "stretch", "jump", "pick_up", "lunge")
MPI_TEST_PROGRAMS = ("walk", "kick", "sit_down", "squat", "throw", "dance")
MPI_SLOW = frozenset({(1, 1), (4, 2), (6, 1), (8, 2)})
"""(subject, sequence) of MPI-INF-3DHP's training part at 25 Hz, the others at 50 Hz: the real set mixes them too."""

RATES_HZ = (60.0, 100.0, 120.0, 59.94, 150.0, 120.0, 60.0, 250.0)
"""True rates of the AMASS sequences, in turn."""
STYLES: tuple[Style, ...] = ("amass", "amass", "bytes_gender", "amass", "no_dmpls", "amass", "smplh_keys", "amass")
"""Spellings of the AMASS files, in turn."""
CAST: tuple[tuple[str, Split], ...] = (
    ("CMU", "train"), ("BMLrub", "train"), ("KIT", "train"), ("ACCAD", "train"), ("HDM05", "extra_train"),
    ("Transitions", "train"), ("CMU", "val"), ("KIT", "val"), ("BMLrub", "extra_val"), ("SSM", "test"),
)  # fmt: skip
"""Subset and BABEL file of each AMASS subject, in turn."""


@dataclass(frozen=True)
class SynthesizeConfig:
    """Section `synthesize`: how much is made, and of what kind. None of it is in the paper."""

    seed: int = 0
    """Of everything."""
    subjects: int = 10
    """People in the AMASS stand-in."""
    sequences: int = 9
    """Sequences a person."""
    actions: tuple[int, int] = (2, 4)
    """Fewest and most actions a sequence."""
    action_seconds: tuple[float, float] = (2.0, 3.5)
    """Shortest and longest action, s."""
    walk_share: float = 0.3
    """Share of the actions that are walking: the imbalance the paper names."""
    takes: int = 2
    """Human3.6M: takes an action and person."""
    take_seconds: float = 4.0
    """Human3.6M: about how long a take is, s; longer where its actions need it (1.2 s each)."""
    mpi_seconds: float = 6.0
    """MPI-INF-3DHP: about how long each of a person's two sequences is, s."""
    film: FilmConfig = field(default_factory=FilmConfig)

    def __post_init__(self) -> None:
        if not 1 <= self.actions[0] <= self.actions[1]:
            raise ValueError(f"actions is {self.actions}; expected (fewest, most), at least 1")
        if not SHORTEST_S <= self.action_seconds[0] <= self.action_seconds[1]:
            raise ValueError(
                f"action_seconds is {self.action_seconds}; expected (shortest, longest), at least {SHORTEST_S} s"
            )
        if self.subjects < 1 or self.sequences < 1 or self.takes < 1:
            raise ValueError("subjects, sequences and takes must be at least 1")


@dataclass(frozen=True)
class _Person:
    gender: str
    betas: np.ndarray


def _person(seed: int, cast: int, number: int) -> _Person:
    rng = np.random.default_rng([seed, 10, cast, number])
    return _Person(anatomy.GENDERS[int(rng.integers(2))], np.round(np.clip(rng.normal(0, 1, 16), -2, 2), 4))


class _Bodies:
    """Stand-in bodies by gender, and motion as Human3.6M-17 joints."""

    def __init__(self, folder: Path) -> None:
        regressor = folder / "J_regressor_h36m_correct.npy"
        self.bodies = {g: ReducedBody.load(folder / "smplh" / g / "model.npz", regressor) for g in anatomy.GENDERS}

    def take(self, actions: Sequence[str], who: _Person, rng: np.random.Generator, seconds: float, subject: int,
             action: str, subaction: int, rate_hz: float = 50.0) -> Take:  # fmt: skip
        each = seconds / len(actions)
        motion = perform(
            actions, who.betas, who.gender, rate_hz, rng, (max(SHORTEST_S, 0.8 * each), max(1.4, 1.2 * each))
        )
        joints = self.bodies[who.gender](motion.poses, motion.trans, who.betas, None)
        return Take(joints, rate_hz, subject, action, subaction)


def synthesize(folder: str | Path, config: SynthesizeConfig) -> None:
    """Write ``folder``: body_models/, amass/, babel/, human36m/ and mpi_inf_3dhp/, all of it or nothing.

    The same config gives the same bytes in every file.
    """
    with replacing_folder(folder) as new:
        write_standin_body(new / "body_models")
        bodies = _Bodies(new / "body_models")
        _write_amass(new, config)
        train, test = (
            [_human36m_take(bodies, config, *key) for key in _show(_human36m_keys(subjects, config), name)]
            for subjects, name in ((HUMAN36M_TRAIN, "Human3.6M train"), (HUMAN36M_TEST, "Human3.6M test"))
        )
        write_human36m(train, test, new / "human36m" / FILE_NAME, config.seed, config.film)
        subjects, sequences = _mpi_takes(bodies, config)
        write_mpi_inf_3dhp(subjects, sequences, new / "mpi_inf_3dhp", config.seed, config.film)


def _show(items: Sequence, what: str):  # type: ignore[no-untyped-def]
    return track(items, description=f"performing {what}", console=Console(stderr=True), transient=True)


def _write_amass(folder: Path, config: SynthesizeConfig) -> None:
    labelled = []
    others = [name for name in ACTIONS if name != "walk"]
    keys = [(subject, number) for subject in range(config.subjects) for number in range(config.sequences)]
    for count, (subject, number) in enumerate(_show(keys, "AMASS")):
        subset, split = CAST[subject % len(CAST)]
        who = _person(config.seed, 0, subject)
        rng = np.random.default_rng([config.seed, 1, subject, number])
        length = int(rng.integers(config.actions[0], config.actions[1] + 1))
        actions = [
            "walk" if rng.random() < config.walk_share else others[int(rng.integers(len(others)))]
            for _ in range(length)
        ]
        motion = perform(actions, who.betas, who.gender, RATES_HZ[count % len(RATES_HZ)], rng, config.action_seconds)
        sequence = AmassSequence(
            subset, f"demo{subject:02d}", f"{number:02d}_{'_'.join(actions[:2])}", who.gender, motion.rate_hz,
            motion.poses, motion.trans, who.betas, STYLES[count % len(STYLES)],
        )  # fmt: skip
        write_sequence(folder / "amass", sequence, config.seed)
        if number == 0:
            write_shape(folder / "amass", subset, sequence.subject, who.gender, who.betas)
        labelled.append(LabelledSequence(sequence.file, len(motion.poses) / motion.rate_hz, motion.segments, split))
    # a file of the SMPL-X release, and a label whose motion is absent: real copies hold both
    x = AmassSequence("SSM", "demo_smplx", "00_stand", "neutral", 60.0, np.zeros((60, 156)), np.zeros((60, 3)),
                      np.zeros(16), "smplx")  # fmt: skip
    write_sequence(folder / "amass", x, config.seed)
    absent = labelled[0]
    missing = f"{next(iter(OLD_FOLDERS))}/demo_absent/00_walk_poses.npz"
    labelled.append(LabelledSequence(missing, absent.duration_s, absent.segments, "train"))
    write_babel(folder / "babel", labelled, config.seed)


def _human36m_keys(subjects: Sequence[int], config: SynthesizeConfig) -> list[tuple[int, str, int]]:
    return [(s, action, take) for s in subjects for action in HUMAN36M_ACTIONS for take in range(1, config.takes + 1)]


def _human36m_take(bodies: _Bodies, config: SynthesizeConfig, subject: int, action: str, number: int) -> Take:
    place = list(HUMAN36M_ACTIONS).index(action)
    rng = np.random.default_rng([config.seed, 2, subject, place, number])
    who = _person(config.seed, 1, subject)
    return bodies.take(HUMAN36M_ACTIONS[action], who, rng, config.take_seconds, subject, action, number)


def _mpi_takes(bodies: _Bodies, config: SynthesizeConfig) -> tuple[list[list[Take]], list[Take]]:
    subjects = []
    for subject in range(1, 9):
        who = _person(config.seed, 2, subject)
        takes = []
        for sequence in (1, 2):
            rng = np.random.default_rng([config.seed, 3, subject, sequence])
            actions = [MPI_PROGRAMS[i] for i in rng.permutation(len(MPI_PROGRAMS))[:3]]
            rate_hz = 25.0 if (subject, sequence) in MPI_SLOW else 50.0
            takes.append(bodies.take(actions, who, rng, config.mpi_seconds, subject, "mpi", sequence, rate_hz))
        subjects.append(takes)
    tests = []
    for number, program in enumerate(MPI_TEST_PROGRAMS, start=1):
        rng = np.random.default_rng([config.seed, 4, number])
        who = _person(config.seed, 3, number)
        tests.append(bodies.take([program], who, rng, config.mpi_seconds, number, "mpi", 1))
    return subjects, tests
