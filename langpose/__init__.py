"""LangPose: 3D human pose lifting whose pretraining aligns motion with text.

``from langpose import LangPose, LangPoseConfig`` works; torch is imported only when one of them is asked for, so that
``import langpose`` and the parts without a model (skeleton, storage, metrics) stay quick.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langpose.model.langpose import LangPose, LangPoseConfig

__version__ = "0.1.0"
__all__ = ["LangPose", "LangPoseConfig"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'langpose' has no attribute {name!r}")
    from langpose.model import langpose as module

    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
