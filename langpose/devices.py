"""Which device computes."""

import torch


def pick_device(name: str) -> torch.device:
    """``auto`` is a GPU where there is one; other names are torch's."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
