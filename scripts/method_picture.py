"""Draw docs/pictures/method.png: the length reward, and what it does to the policy of examples/own_loop.py.

python scripts/method_picture.py docs/pictures/method.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from deepcompress_client import Client
from deepcompress_service.cli.embedded import embedded_service

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
import own_loop  # noqa: E402

LEVEL, ALPHA = 0.6, 0.2
PROBLEMS = ((0.95, "#1f77b4", "simple"), (0.60, "#999999", "at the level"), (0.10, "#c0392b", "hard"))


def draw(out: Path) -> None:
    """Write the picture."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    _, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), width_ratios=(1, 1.1))
    z = np.linspace(-2.5, 2.5, 101)
    for ratio, colour, name in PROBLEMS:
        reward = ALPHA / (1 + np.exp((ratio - LEVEL) * z))
        left.plot(z, reward, color=colour, lw=2)
        left.annotate(
            f"{name}:\n{ratio:.0%} right", (2.6, reward[-1]), color=colour, va="center", annotation_clip=False
        )
    left.set(
        xlabel=r"shorter than the group  $\leftarrow$  z  $\rightarrow$  longer",
        ylabel="length reward",
        ylim=(0, ALPHA),
    )
    left.set_title(f"The reward of a right answer (level {LEVEL:.0%})", loc="left")
    with embedded_service() as url, Client(url) as client:
        for kind, style, label in (("paper", "-", "with the length reward"), ("outcome", ":", "outcome only")):
            course = [[policy.tokens("easy"), policy.tokens("hard")] for _, _, policy in own_loop.train(kind, client)]
            for values, colour, problem in zip(
                zip(*course, strict=True), ("#1f77b4", "#c0392b"), ("easy", "hard"), strict=True
            ):
                right.plot(values, color=colour, ls=style, lw=2, label=f"{problem}, {label}")
    right.set(xlabel="step", ylabel="tokens of an answer", ylim=(0, None))
    right.set_title("The policy of examples/own_loop.py", loc="left")
    right.legend(frameon=False, fontsize=9, loc="center right", bbox_to_anchor=(1, 0.33))
    plt.tight_layout()
    plt.savefig(out, dpi=110)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
