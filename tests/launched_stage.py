"""A stage that trains a toy in two processes: python -m tests.launched_stage FOLDER PAUSE_S"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from langpose.distributed import rank_and_size
from langpose.training import train
from pipeline import training_cell
from tests.test_training import CONFIG, Toy


def main(folder: str, pause_s: str) -> None:
    config = replace(CONFIG, processes=2, device="cpu", threads=1)
    if training_cell.shared_out(config):
        print("outputs are there", flush=True)
        return

    def act(step: int) -> None:
        time.sleep(float(pause_s))
        if rank_and_size()[0] == 0:
            (Path(folder) / "steps").write_text(str(step))

    train(Toy(act), config, 1, Path(folder), {"toy": "1"}, progress=False)
    if rank_and_size()[0] == 0:
        (Path(folder) / "done").write_text(os.environ["WORLD_SIZE"])


if __name__ == "__main__":
    main(*sys.argv[1:])
