"""What CMU's trials show: labelled segments like BABEL's, action groups for the tables, and a split by subject.

CMU's index describes whole trials ("bend over, scoop up, rise, lift arm"). Such a list is one label for the whole
trial: when one item ends and the next begins is not known, and no times are made up. Three trials of subject 14 have
labels by the tenth of a second (``frame_labels/``); these take the place of the trial's description.
"""

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd

from langpose.sources import cmu_index

SPLITS: dict[str, tuple[int, ...]] = {
    "pretrain": (5, 16, 29, 135),
    "finetune": (14, 127),
    "val": (3, 17),
    "test": (2,),
}
"""Subjects by purpose; no subject is in two of them.

test is subject 02: ten trials of seven different actions, so the tables have columns, by a person (and a recording
session) that nothing else comes from. pretrain has the four with the widest range of described motion: dance, ways of
walking, running and jumping, pantomime, karate; subjects beyond the pinned nine (``download.trials: all``) are
pretraining's too. finetune has everyday actions (14) and running around obstacles (127), as unlike the test subject's
session as Human3.6M's training subjects are to its test subjects. val is the two smallest: enough to choose by, little
lost.
"""

FRAME_LABEL_S = 0.1
FRAME_LABEL_CLASSES = (
    "jumping jacks", "jog", "squat", "raise knees", "circle arms", "twist", "reach to the side", "boxing",
    "move up and down", "touch toes with one hand", "bend sideways", "touch toes with both hands",
)  # fmt: skip
"""Texts of the classes of ``frame_labels``, which count from 1: JumpJack Jog Squat KneeRaise ArmCircle Twist SideReach
Box UpDown ToeTouchOneHand SideBend ToeTouchTwoHands."""

KARATE = {
    "bassai": "bassai form (karate)",
    "empi": "empi form (karate)",
    "heiansyodan": "heian shodan form (karate)",
    "front kick": "front kick (karate)",
    "gedanbarai": "downward block (karate)",
    "mawashigeri": "roundhouse kick (karate)",
    "oiduki": "lunge punch (karate)",
    "syutouuke": "knife-hand block (karate)",
    "yokogeri": "side kick (karate)",
}
"""Subject 135's trials have Japanese names, which BERT does not know: gedan barai, mawashi geri, oi zuki, shuto uke and
yoko geri are techniques, bassai, empi and heian shodan are forms (kata)."""

READABLE = {
    "alaskan vacation": "mime an alaskan vacation",
    "alaska vacation": "mime an alaskan vacation",
    "motorcycle": "motorcycle pose",
}
"""Descriptions that say too little: the vacations are pantomimes, and 144_19 tells that a motorcycle is a pose."""

ALTERNATIVES = {
    "run/jog": "run",
    "punch/strike": "punch",
    "walk/hobble": "hobble",
    "attitude/arabesque": "arabesque",
    "walk/stride": "stride",
    "walk/wander": "wander",
}
"""CMU's "a/b": the word that says more, or else the plainer one. Others become "a or b"."""

CATEGORIES = {
    "walk": r"walk|hobble|navigate|wander|stride|stroll|march", "run": r"\brun|\bjog",
    "jump": r"\bjump(?!ing jacks)|\bleap|\bhop\b|\bjete", "turn": r"turn|veer|pirouette|spin", "stop": r"\bstop",
    "punch": r"punch|strike", "box": r"\bbox(ing)?\b", "bend": r"\bbend", "scoop": r"scoop", "rise": r"\brise",
    "lift": r"\blift", "swordplay": r"sword", "wash": r"\bwash", "mop": r"\bmop", "sweep": r"sweep",
    "dance": r"dance", "sit": r"\bsit\b", "stand up": r"stand up", "climb": r"climb",
    "direct traffic": r"direct traffic", "wave": r"\bwave", "point": r"\bpoint\b", "drink": r"drink",
    "screw": r"screw", "laugh": r"laugh", "exercise": r"jumping jacks|range of motion", "squat": r"squat",
    "twist": r"twist", "stretch": r"stretch", "reach": r"reach|grab", "balance": r"balance",
    "raise knees": r"raise knees", "circle arms": r"circle arms", "touch toes": r"touch toes",
    "move up and down": r"move up and down", "imitate animal": r"^imitate", "act out rhyme": r"nursery rhyme",
    "mime": r"vacation", "signal": r"signals", "kick": r"kick", "block": r"\bblock\b", "lunge": r"lunge",
    "karate": r"karate", "pose": r"pose", "dive": r"\bdive", "roll": r"\broll\b", "duck": r"\bduck",
    "swing": r"swing", "whistle": r"whistle",
}  # fmt: skip
"""Verbs (as BABEL's act_cat) by the words they are found by in a cleaned text."""

ACTION_GROUPS = {
    "Karate": r"karate", "Dance": r"^dance", "Animal": r"^imitate", "Rhyme": r"nursery rhyme", "Vacation": r"vacation",
    "Signal": r"basketball signals", "Motorcycle": r"motorcycle", "Exercise": r"jumping jacks|range of motion|^stretch",
    "Direct": r"direct traffic", "Box": r"^box", "Punch": r"punch", "Sword": r"sword", "Wash": r"^wash",
    "Mop": r"^(mop|sweep)", "Drink": r"drink", "Laugh": r"^laugh", "Climb": r"^climb", "Sit": r"^sit",
    "Obstacle": r"^run.* (over|duck underneath|dive)", "Run": r"^run", "Reach": r"^jump up to grab",
    "Jump": r"jump", "Bend": r"^bend", "Walk": r"walk|^hobble",
}  # fmt: skip
"""Table columns on cmu, by the words they are found by in a cleaned text; the first that matches. All 196 pinned trials
have a group; others without one are "Other"."""

HARD_GROUPS = ("Bend", "Sword", "Wash")
"""P3 on cmu is the mean of these three of the test subject's groups, chosen before any result was seen for what makes
Photo, Sitting and SittingDown hard on Human3.6M: folded bodies (Bend) and arms in front of the body (Sword, Wash)."""


def clean(description: str) -> str:
    """CMU's description as a lower-case text: "run/jog, sudden stop" -> "run, sudden stop"."""
    text = " ".join(description.strip().lower().replace("_", " ").split())
    if text in KARATE:
        return KARATE[text]
    for words, replacement in ALTERNATIVES.items():
        text = text.replace(words, replacement)
    text = re.sub(r"(?<=[a-z])/(?=[a-z])", " or ", text)
    rhyme = re.fullmatch(r"nursery rhyme - (.*)", text)
    if rhyme:
        return "act out the nursery rhyme " + re.sub(r"[\".]", "", rhyme[1]).strip()
    animal = re.fullmatch(r"(.*?) \(human subject\)", text)
    if animal:
        return f"imitate {'an' if animal[1][0] in 'aeiou' else 'a'} {animal[1]}"
    return READABLE.get(text, text).replace(" - ", ", ")


def categories(text: str) -> list[str]:
    """Verbs found in a cleaned text, in the order they appear; its action group in lower case if there are none."""
    found = [
        (match.start(), i, name) for i, (name, p) in enumerate(CATEGORIES.items()) if (match := re.search(p, text))
    ]
    return [name for _, _, name in sorted(found)] or [action_group(text).lower()]


def action_group(text: str) -> str:
    """Group of a cleaned text: a word without spaces, safe as Human3.6M's action name."""
    return next((group for group, pattern in ACTION_GROUPS.items() if re.search(pattern, text)), "Other")


def trials(folder: str | Path) -> pd.DataFrame:
    """One row per AMC file under ``folder``/subjects, sorted: sequence ("02_01"), subject and trial (int), path,
    frames, rate_hz, description (CMU's), text (cleaned), group.

    ``folder`` is what `cmu_archive.fetch` filled. Raises ``FileNotFoundError`` if there is no index or no trial, and
    ``ValueError`` for a trial that the index does not list.
    """
    folder = Path(folder)
    path = folder / "index.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; fill the folder with langpose.sources.cmu_archive.fetch")
    index, rows = cmu_index.read(path), []
    for amc in sorted(folder.glob("subjects/*/*_*.amc")):
        entry = index.get(amc.stem)
        if entry is None or entry.rate_hz is None:
            raise ValueError(f"{path}: no entry with a frame rate for {amc.stem}, which lies in {amc.parent}")
        subject, trial = map(int, amc.stem.split("_"))
        text = clean(entry.description)
        frames = _last_frame(amc)
        rows.append(
            (amc.stem, subject, trial, str(amc), frames, entry.rate_hz, entry.description, text, action_group(text))
        )
    if not rows:
        raise FileNotFoundError(f"{folder}: no trials like subjects/02/02_01.amc")
    columns = ["sequence", "subject", "trial", "path", "frames", "rate_hz", "description", "text", "group"]
    return pd.DataFrame(rows, columns=columns).sort_values(["subject", "trial"], ignore_index=True)


def _last_frame(amc: Path) -> int:
    """Number of the last frame of an AMC file, from its end alone."""
    with open(amc, "rb") as handle:
        handle.seek(max(0, amc.stat().st_size - (1 << 14)))
        numbers = re.findall(rb"^(\d+)\s*$", handle.read(), re.MULTILINE)
    if not numbers:
        raise ValueError(f"{amc}: no frame number in its last 16 KiB; is it an AMC file?")
    return int(numbers[-1])


def labels(folder: str | Path) -> pd.DataFrame:
    """Labelled segments of every trial: sequence, start_s, stop_s, label, categories (list of str), kind.

    Times are seconds from the trial's first frame. kind is "action", or "transition" where frame labels leave a gap
    between two classes (number 0; there is none in the six published files). Trials without a description have no
    segment. Raises as `trials` does, and ``ValueError`` for a frame label that is no class.
    """
    folder, rows = Path(folder), []
    for trial in trials(folder).itertuples():
        duration_s = trial.frames / trial.rate_hz
        path = folder / "frame_labels" / f"{trial.sequence}.txt"
        if path.is_file():
            rows += [(trial.sequence, *segment) for segment in _frame_segments(path, duration_s)]
        elif trial.text:
            rows.append((trial.sequence, 0.0, duration_s, trial.text, categories(trial.text), "action"))
    return pd.DataFrame(rows, columns=["sequence", "start_s", "stop_s", "label", "categories", "kind"])


def _frame_segments(path: Path, duration_s: float) -> list[tuple[float, float, str, list[str], str]]:
    """Runs of one class as segments; a gap between two runs is a transition, one at either end is nothing."""
    try:
        numbers = np.array(path.read_text().split(), dtype=np.int64)
    except ValueError as error:
        raise ValueError(f"{path}: expected class numbers, {error}") from error
    wrong = numbers[(numbers < 0) | (numbers > len(FRAME_LABEL_CLASSES))]
    if len(wrong):
        raise ValueError(f"{path}: class {wrong[0]}; expected 1 to {len(FRAME_LABEL_CLASSES)}, or 0 for none")
    runs, start = [], 0
    for number, run in itertools.groupby(numbers.tolist()):
        stop = start + len(list(run))
        runs.append((number, start, stop))
        start = stop
    segments = []
    for i, (number, start, stop) in enumerate(runs):
        start_s, stop_s = round(start * FRAME_LABEL_S, 6), min(round(stop * FRAME_LABEL_S, 6), duration_s)
        if start_s >= stop_s:
            continue
        if number:
            text = FRAME_LABEL_CLASSES[number - 1]
            segments.append((start_s, stop_s, text, categories(text), "action"))
        elif 0 < i < len(runs) - 1:
            segments.append((start_s, stop_s, "transition", ["transition"], "transition"))
    return segments
