"""BABEL's action labels (Punnakal et al. 2021): who annotated what, from which second to which, of which AMASS file.

``{train,val,test}.json`` hold one annotation a sequence (dense), ``extra_{train,val}.json`` several. A label names the
whole sequence, or a span of seconds in it; labels are unsorted and overlap, and in ``test`` their texts are null.
Nothing is merged or resolved here: see `langpose.pairs`.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from langpose.sources import amass

FILES = {"train": "train", "val": "val", "test": "test", "extra_train": "train", "extra_val": "val"}
"""File name (less ``.json``) -> split."""

COLUMNS = (
    "babel_sid", "feat_p", "sequence", "split", "dense", "annotation", "level", "start_s", "stop_s", "label",
    "raw_label", "proc_label", "categories",
)  # fmt: skip


_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # may be half of a character that utf-16 writes in two


def read(folder: str | Path, text: Literal["proc_label", "raw_label"] = "proc_label") -> pd.DataFrame:
    """All labels that have a text, one a row, sorted: columns `COLUMNS`.

    ``sequence`` is `amass.sequence_id` of ``feat_p`` (folder renames resolved), ``split`` BABEL's own (by sequence),
    ``dense`` False for the extra files, ``annotation`` counts the annotators of a sequence, ``level`` is "frame" or
    "sequence" (0 to ``dur``), times are seconds from the recording's first frame, ``categories`` a list of str.
    ``label`` is the column that ``text`` names; not in the paper: BABEL's cleaned text, as its categories come from it.

    ``attrs["report"]`` counts entries and labels by file, and what was left out: labels without text (all of test's),
    and labels that end before they start. Raises ``FileNotFoundError`` if no file is there, ``ValueError`` naming file,
    sequence number and field for anything malformed.
    """
    entries = _entries(Path(folder))
    rows: list[tuple[Any, ...]] = []
    before: Counter[str] = Counter()  # annotators of a recording in the files read so far: the dense, then the extra
    report: dict[str, Any] = {"sequences": {}, "labels": {}, "without_text": {}, "no_duration": {}}
    for name, file in entries.items():
        counts: Counter[str] = Counter()
        for sid, entry in file.items():
            where = f"{name}.json: sequence {sid}"
            feat_p = _field(entry, "feat_p", str, where)
            duration_s = _seconds(entry, "dur", where)
            head = (int(_field(entry, "babel_sid", int, where)), feat_p, amass.sequence_id(feat_p), FILES[name])
            own = 0
            for number, level, annotation in _annotations(entry, where):
                own = max(own, number + 1)
                place = f"{where}, {level} annotation {number}"
                for index, label in enumerate(_list(annotation, "labels", place)):
                    span = f"{place}, label {index}"
                    start_s, stop_s = 0.0, duration_s
                    if level == "frame":
                        start_s = max(_seconds(label, "start_t", span), 0.0)
                        stop_s = _seconds(label, "end_t", span)
                    raw, proc = _text(label, "raw_label", span), _text(label, "proc_label", span)
                    if not (raw or proc):
                        counts["without_text"] += 1
                        continue
                    if stop_s <= start_s:
                        counts["no_duration"] += 1
                        continue
                    raw, proc = raw or proc, proc or raw
                    chosen = proc if text == "proc_label" else raw
                    categories = [] if label.get("act_cat") is None else _categories(label, span)
                    times = (start_s, stop_s, chosen, raw, proc, categories)
                    annotator = before[head[2]] + number
                    rows.append((*head, not name.startswith("extra"), annotator, level, *times))
                    counts["labels"] += 1
            before[head[2]] += own
        report["sequences"][name] = len(file)
        for key in ("labels", "without_text", "no_duration"):
            report[key][name] = counts[key]
    rows.sort(key=lambda row: (row[2], row[0], *row[4:10]))
    labels = pd.DataFrame(rows, columns=list(COLUMNS))
    labels.attrs["report"] = report
    return labels


def splits(folder: str | Path) -> dict[str, str]:
    """BABEL's split of every sequence it names (test's too): `amass.sequence_id` -> train, val or test.

    A sequence that stands in a dense and in an extra file keeps the dense one's split.
    """
    found: dict[str, str] = {}
    for name, file in _entries(Path(folder)).items():
        for sid, entry in file.items():
            feat_p = _field(entry, "feat_p", str, f"{name}.json: sequence {sid}")
            found.setdefault(amass.sequence_id(feat_p), FILES[name])
    return found


def subject_splits(sequences: Iterable[str], babel: Mapping[str, str], held_out: float = 0.1) -> dict[str, str]:
    """Split by subject: subject (see `amass.subject_of`) -> train, val or test, for the given sequence ids.

    A subject all of whose labelled sequences are in one split of BABEL goes there; one without labels goes to train.
    BABEL splits by sequence, so most people are in several of its splits (sending each to val or test would leave
    next to nothing to train on): their split is drawn by the hash of their name, ``held_out`` of them to val and as
    many to test. Not in the paper, which does not say that subjects are kept apart.
    """
    seen: dict[str, set[str]] = {}
    for sequence in sequences:
        seen.setdefault(amass.subject_of(sequence), set()).update({babel[sequence]} if sequence in babel else ())
    chosen = {}
    for subject, names in sorted(seen.items()):
        if len(names) <= 1:
            chosen[subject] = next(iter(names), "train")
            continue
        draw = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:6], "big") / 2**48
        chosen[subject] = "val" if draw < held_out else "test" if draw < 2 * held_out else "train"
    return chosen


def _entries(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """File name -> sequence number -> entry, for the files that are there, dense ones first."""
    paths = {name: folder / f"{name}.json" for name in FILES}
    if not any(path.is_file() for path in paths.values()):
        raise FileNotFoundError(f"{folder}: none of {', '.join(f'{n}.json' for n in FILES)}; place BABEL v1.0 there")
    files = {}
    for name, path in paths.items():
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
            values = json.loads(text)
            if _HALF.search(text):
                json.dumps(values, ensure_ascii=False).encode()  # half of a character in some text is an error here
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not valid JSON ({str(error)[:200]}); get the file again") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path}: holds a {type(values).__name__}; expected an object {{sequence number: entry}}")
        for sid, entry in values.items():
            if not isinstance(entry, dict):
                raise ValueError(f"{name}.json: sequence {sid} is {entry!r}; expected an object")
        files[name] = values
    return files


def _annotations(entry: dict[str, Any], where: str) -> Iterable[tuple[int, str, dict[str, Any]]]:
    """(annotator's number, level, annotation) of an entry; dense entries have one, extra ones a list."""
    for level, single, several in (("sequence", "seq_ann", "seq_anns"), ("frame", "frame_ann", "frame_anns")):
        if entry.get(single) is not None:
            yield 0, level, _field(entry, single, dict, where)
        elif entry.get(several) is not None:
            for number, annotation in enumerate(_list(entry, several, where)):
                yield number, level, annotation


def _list(values: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """A list of objects; null entries (an annotator without this kind of label) are left out."""
    items = _field(values, key, list, where)
    for item in items:
        if item is not None and not isinstance(item, dict):
            raise ValueError(f"{where}: field '{key}' holds {item!r}; expected objects")
    return [item for item in items if item is not None]


def _field(values: dict[str, Any], key: str, kind: type, where: str) -> Any:
    if key not in values:
        raise ValueError(f"{where}: field '{key}' is missing")
    value = values[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{where}: field '{key}' is {value!r}; expected {kind.__name__}")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError(f"{where}: field '{key}' is {value!r:.40}; expected a number of at most 18 digits")
    return value


def _seconds(values: dict[str, Any], key: str, where: str) -> float:
    if key not in values:
        raise ValueError(f"{where}: field '{key}' is missing")
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise ValueError(f"{where}: field '{key}' is {value!r:.40}; expected a number of seconds")
    return float(value)


def _text(label: dict[str, Any], key: str, where: str) -> str:
    value = label.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{where}: field '{key}' is {value!r}; expected text or null")
    return " ".join((value or "").split())


def _categories(label: dict[str, Any], where: str) -> list[str]:
    value = label["act_cat"]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{where}: field 'act_cat' is {value!r}; expected a list of texts or null")
    return value
