"""Pictures that move: the 2D input beside the 3D poses, as mp4, gif, or a page with the report's player.

mp4 needs PyAV (``pip install "langpose[render]"``), which encodes H.264; gif needs Pillow alone. Limbs are drawn at
twice the size and reduced, which smooths their edges.
"""

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from langpose.lifting import Poses
from langpose.skeleton import LEFT, LIMBS, RIGHT
from langpose.storage import replacing
from langpose.viewer import save_html

PANEL = 480
"""Width and height of a panel, pixels."""
FINER = 2
"""Drawn so many times larger than shown."""
PAPER, FAINT = (250, 250, 248), (226, 226, 222)
COLOURS = {"left": (209, 73, 91), "right": (0, 121, 140), "middle": (61, 64, 91)}
"""As in the report's figures."""
KINDS = (".mp4", ".gif", ".html")
UNSURE = 0.3
"""Less sure joints are drawn pale."""
MOST_PEOPLE = 6
"""3D panels beside each other at most."""


def side(joint: int) -> str:
    return "left" if joint in LEFT else "right" if joint in RIGHT else "middle"


def save(
    path: str | os.PathLike[str], people: Sequence[Poses], rate_hz: float, video: str | os.PathLike[str] | None = None,
    turn_deg: float = 0.0, progress: bool = False, titles: Sequence[str] = (),
) -> None:  # fmt: skip
    """Render ``people`` to ``path``, an .mp4, .gif or .html; raises ``ValueError`` for another kind of file.

    ``video`` is drawn behind the 2D input (mp4, gif). ``turn_deg`` turns the 3D view about the vertical; ``titles``
    stand over the 2D and the 3D panels.
    """
    place = Path(path)
    check([place], video)
    if place.suffix == ".html":
        save_html(place, people, rate_hz)
        return
    pictures = frames(people, video, turn_deg, progress, titles)
    rate_hz /= step_of(list(people)[:MOST_PEOPLE])
    if place.suffix == ".gif":
        save_gif(place, pictures, rate_hz, None if video is None else 256)
    else:
        save_mp4(place, pictures, rate_hz)


def check(paths: Sequence[Path], video: str | os.PathLike[str] | None) -> None:
    """Raise ``ValueError`` for what could not be rendered, before there is anything to render."""
    for path in paths:
        if path.suffix not in KINDS:
            raise ValueError(f"{path}: rendered as {', '.join(KINDS)}; not as '{path.suffix}'")
        if path.suffix == ".mp4":
            _av()
    if video is not None:
        _Background(video).container.close()


def frames(
    people: Sequence[Poses], video: str | os.PathLike[str] | None = None, turn_deg: float = 0.0, progress: bool = False,
    titles: Sequence[str] = (),
) -> Iterator[np.ndarray]:  # fmt: skip
    """Pictures (480, 480 · (1 + people), 3) uint8, one a frame number from the first to the last of all people."""
    from PIL import Image, ImageDraw

    shown = list(people)[:MOST_PEOPLE]
    window = _window(shown)
    places = [_place_3d(poses, turn_deg) for poses in shown]
    rows = [{int(frame): row for row, frame in enumerate(poses.frames)} for poses in shown]
    numbers: Any = range(
        min(int(p.frames[0]) for p in shown), max(int(p.frames[-1]) for p in shown) + 1, step_of(shown)
    )
    if progress:
        console = Console(stderr=True)
        numbers = track(numbers, "rendering", console=console, transient=True, disable=not console.is_terminal)
    background = None if video is None else _Background(video)
    size = (PANEL * FINER * (1 + len(shown)), PANEL * FINER)
    for number in numbers:
        picture = Image.new("RGB", size, PAPER)
        if background is not None:
            background.paste(picture, number, window)
        draw = ImageDraw.Draw(picture)
        for index, (poses, held) in enumerate(zip(shown, rows, strict=True)):
            edge = (index + 1) * PANEL * FINER
            draw.rectangle((edge, 0, edge + PANEL * FINER, PANEL * FINER), PAPER)
            draw.line((edge, 0, edge, PANEL * FINER), FAINT, FINER)
            row = held.get(number)
            if row is None:
                continue
            keypoints = poses.keypoints[row]
            _skeleton(draw, _on_panel(keypoints[:, :2], window), None, keypoints[:, 2])
            points, depth = places[index][0][row], places[index][1][row]
            _skeleton(draw, points + np.array([edge, 0]), depth, None)
        for panel, title in enumerate(titles):
            draw.text((PANEL * FINER * panel + 24, 20), title, COLOURS["middle"], font_size=17 * FINER)
        yield np.asarray(picture.reduce(FINER))


def step_of(people: Sequence[Poses]) -> int:
    """Frame numbers from a picture to the next: the most that meets every frame of all people."""
    frames = np.unique(np.concatenate([poses.frames for poses in people]))
    return int(np.gcd.reduce(np.diff(frames))) if len(frames) > 1 else 1


def _window(people: Sequence[Poses]) -> tuple[float, float, float]:
    """Left, top and side of the square of the image that holds what is seen of all, with a margin; pixels."""
    seen = np.concatenate([poses.keypoints[poses.keypoints[..., 2] > 0][:, :2] for poses in people])
    if not len(seen):
        return 0.0, 0.0, 1.0
    low, high = np.percentile(seen, 0.5, axis=0), np.percentile(seen, 99.5, axis=0)
    length = 1.15 * float((high - low).max()) + 1e-6
    left, top = (low + high) / 2 - length / 2
    return float(left), float(top), length


def _on_panel(points: np.ndarray, window: tuple[float, float, float]) -> np.ndarray:
    return (points - window[:2]) / window[2] * PANEL * FINER


def _place_3d(poses: Poses, turn_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """(F, 17, 2) places on a panel and (F, 17) depths of a person's joints; one scale for all frames."""
    angle = np.radians(turn_deg)
    x, y, z = np.moveaxis(poses.joints, -1, 0)
    across, depth = x * np.cos(angle) + z * np.sin(angle), z * np.cos(angle) - x * np.sin(angle)
    points = np.stack([across, y], -1)
    low, high = points.min((0, 1)), points.max((0, 1))
    scale = 0.86 * PANEL * FINER / max(float((high - low).max()), 1e-9)
    return (points - (low + high) / 2) * scale + PANEL * FINER / 2, depth


def _skeleton(draw: Any, points: np.ndarray, depth: np.ndarray | None, confidence: np.ndarray | None) -> None:
    """Limbs, the far ones first; of unsure or unseen joints pale, or not at all."""
    limbs = LIMBS if depth is None else sorted(LIMBS, key=lambda limb: -float(depth[limb[0]] + depth[limb[1]]))
    flat = points.tolist()
    for parent, joint in limbs:
        sure = 1.0 if confidence is None else float(min(confidence[parent], confidence[joint]))
        if sure > 0:
            draw.line((*flat[parent], *flat[joint]), _ink(side(joint), sure), 4 * FINER)
    for joint, (x, y) in enumerate(flat):
        sure = 1.0 if confidence is None else float(confidence[joint])
        if sure > 0:
            radius = 3.5 * FINER
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), _ink(side(joint), sure))


def _ink(name: str, sure: float) -> tuple[int, int, int]:
    if sure >= UNSURE:
        return COLOURS[name]
    r, g, b = (round(c + (p - c) * 0.6) for c, p in zip(COLOURS[name], PAPER, strict=True))
    return r, g, b


class _Background:
    """A video's frames by their number, read in order."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        av = _av()
        try:
            self.container = av.open(os.fspath(path))
        except (OSError, av.error.FFmpegError) as error:
            raise ValueError(f"{path}: cannot be read as a video ({error})") from error
        if not self.container.streams.video:
            raise ValueError(f"{path}: cannot be read as a video (there are no pictures in it)")
        self.pictures = iter(self.container.decode(video=0))
        self.number, self.picture = -1, None

    def paste(self, picture: Any, number: int, window: tuple[float, float, float]) -> None:
        while self.number < number:
            after = next(self.pictures, None)
            if after is None:
                break
            self.number, self.picture = self.number + 1, after
        if self.picture is None or self.number != number:
            return
        left, top, length = window
        part = self.picture.to_image().crop((round(left), round(top), round(left + length), round(top + length)))
        picture.paste(part.resize((PANEL * FINER, PANEL * FINER)), (0, 0))


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise ValueError('mp4 and videos need PyAV: pip install "langpose[render]"; gif and html do not') from error
    return av


def save_mp4(path: Path, pictures: Iterator[np.ndarray], rate_hz: float) -> None:
    """Encode pictures as H.264 in yuv420p, which browsers and slides play."""
    av = _av()
    first = next(pictures)
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate_hz).limit_denominator(1001))
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"preset": "veryfast", "crf": "20"}
        for picture in chain([first], pictures):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())


def save_gif(path: Path, pictures: Iterator[np.ndarray], rate_hz: float, colours: int | None = None) -> None:
    """A gif of half the size, of at most about 37 pictures a second: frames are left out beyond.

    ``colours``: chosen for each picture; None: the few that `frames` draws with.
    """
    from PIL import Image

    every = max(1, round(rate_hz / 25))
    palette = _palette()

    def small() -> Iterator[Any]:
        for number, picture in enumerate(pictures):
            if number % every == 0:
                image = Image.fromarray(picture).reduce(2)
                yield image.quantize(colours) if colours else image.quantize(palette=palette, dither=Image.Dither.NONE)

    images = small()
    with replacing(path) as temporary:
        next(images).save(
            temporary, "GIF", save_all=True, append_images=images, duration=round(1000 * every / rate_hz), loop=0
        )


def _palette() -> Any:
    """What `frames` draws with: its colours, and the steps of each to the paper that smooth edges take."""
    from PIL import Image

    steps = 12
    inks = [*COLOURS.values(), FAINT]
    colours = [
        tuple(round(c + (p - c) * step / steps) for c, p in zip(ink, PAPER, strict=True))
        for ink in inks
        for step in range(steps + 1)
    ]
    found = Image.new("P", (1, 1))
    found.putpalette([value for colour in colours for value in colour] + [0] * (768 - 3 * len(colours)))
    return found
