"""``deepcompress curves``: a picture of what a strategy pays, against z and against tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .helptext import teach

_HELP = """\
Draw what strategies pay beside the outcome: against z for a range of beta (the paper's Figure 2), and against tokens
for a group.

Each strategy has two panels. In the first, one rollout of a group of 16 takes every length while the others stand
still; a line is a beta = pass ratio - level, so that one sees whether simple and hard problems are paid apart. In the
second, the rollouts of one group take every length in turn; dots are where they stand. Solid lines are correct
rollouts, dashed ones wrong.

  deepcompress curves
  deepcompress curves --strategy kimi_k1.5 --strategy hapo --out curves.png
  deepcompress curves --tokens 800,1200,1500,3000 --correct 1,1,0,1 --level 0.5

What else a strategy reads (histories, targets, reference values) is set from the group's mean length.

Exit status: 0 drawn, 2 a strategy or the group is wrong.
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("curves", help=teach(_HELP))(curves)


def curves(
    strategy: Annotated[
        list[str] | None,
        typer.Option("--strategy", "-s", help="a name, or a JSON object with name and parameters; repeat it"),
    ] = None,
    beta: Annotated[str, typer.Option(help="the values of beta, between -1 and 1")] = "-0.8,-0.4,0,0.4,0.8",
    tokens: Annotated[str, typer.Option(help="the lengths of the group")] = "1200,2000,2600,3300,4100,5200,6800,9000",
    correct: Annotated[str, typer.Option(help="1 or 0 for each of them")] = "1,1,1,0,1,1,0,0",
    level: Annotated[float, typer.Option(min=0.0, max=1.0, help="the level the group is taken against")] = 0.5,
    out: Annotated[Path, typer.Option("--out", "-o", help="the PNG to write")] = Path("curves.png"),
) -> None:
    from ..shaping import ShapingError
    from .output import console, fail
    from .pictures import draw_curves
    from .strategies import rewards_of

    try:
        betas = [float(value) for value in beta.split(",")]
        lengths = [int(value) for value in tokens.split(",")]
        flags = [{"1": True, "0": False}[value.strip()] for value in correct.split(",")]
    except (ValueError, KeyError):
        fail("send --beta as numbers, --tokens as whole numbers and --correct as 1 or 0, with commas between")
    if not all(-1 <= value <= 1 for value in betas):
        fail("--beta takes values between -1 and 1")
    if len(lengths) != len(flags) or not all(0 <= value < 2**31 for value in lengths):
        fail("--tokens and --correct describe one group: as many of one as of the other, and no negative length")
    try:
        rewards = rewards_of(strategy or ["deepcompress"])
        path = draw_curves(out, rewards, betas, lengths, flags, level)
    except (ShapingError, ValueError, OSError) as error:
        fail(str(error))
    console().print(f"wrote {path}", markup=False)
