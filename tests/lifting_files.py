"""The two lifting data sets as small files in their true formats, from the fixtures' arrays."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

FIXTURES = Path(__file__).parent / "fixtures"


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def numbers(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def human36m_content() -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = {"train": {}, "test": {}}
    for key, value in arrays("h36m_synth_input").items():
        split, name = key.split("/")
        content[split][name] = value.tolist() if value.dtype.kind == "U" else value
    return content


def write_human36m(content: dict[str, Any], path: Path, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def mpi_inf_3dhp_content() -> tuple[dict[str, Any], dict[str, Any]]:
    train: dict[str, Any] = {}
    test: dict[str, Any] = {}
    for key, value in arrays("mpi3dhp_synth_input").items():
        split, name, *rest = key.split("/")
        if split == "train":
            train.setdefault(name, [{}, 25])[0].setdefault(rest[0], {})[rest[1]] = value
        else:
            test.setdefault(name, {})[rest[0]] = value
    return train, test


def write_mpi_inf_3dhp(train: dict[str, Any], test: dict[str, Any], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "data_train_3dhp.npz", data=np.array(train, dtype=object))
    np.savez_compressed(folder / "data_test_3dhp.npz", data=np.array(test, dtype=object))
    return folder
