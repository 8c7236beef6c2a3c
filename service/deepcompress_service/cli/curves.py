"""``deepcompress curves``: a picture of the length reward of strategies against z and against tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .helptext import teach

_HELP = """\
Draw the reward of strategies without its outcome part: against z for several values of beta (the paper's Figure 2),
and against tokens for one group.

Each strategy has two panels. In the first, the length of one rollout of a group of 16 varies while the others stay
the same, with a line for each beta = pass ratio - level: it shows how simple and hard problems differ. In the second,
the length of each rollout of one group varies in turn, with a dot at its actual length. Solid lines are correct
rollouts, dashed lines are wrong ones.

  deepcompress curves
  deepcompress curves --strategy kimi_k1.5 --strategy hapo --out curves.png
  deepcompress curves --tokens 800,1200,1500,3000 --correct 1,1,0,1 --level 0.5

Other inputs of a strategy (histories, targets, reference values) are set from the group's mean length.

Exit status: 0 success, 2 a strategy or the group is invalid.
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("curves", help=teach(_HELP))(curves)


def curves(
    strategy: Annotated[
        list[str] | None,
        typer.Option("--strategy", "-s", help="a name, or a JSON object with name and parameters; may be repeated"),
    ] = None,
    beta: Annotated[str, typer.Option(help="values of beta, from -1 to 1")] = "-0.8,-0.4,0,0.4,0.8",
    tokens: Annotated[
        str, typer.Option(help="lengths of the group in tokens")
    ] = "1200,2000,2600,3300,4100,5200,6800,9000",
    correct: Annotated[str, typer.Option(help="1 (correct) or 0 (wrong) for each length")] = "1,1,1,0,1,1,0,0",
    level: Annotated[float, typer.Option(min=0.0, max=1.0, help="level for the group")] = 0.5,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG file to write")] = Path("curves.png"),
) -> None:
    """Draw the curves as a PNG file. Exit status 2 if a strategy or the group is invalid."""
    from ..shaping import ShapingError
    from .output import console, fail, prepare_file, reason, require_pictures

    require_pictures()
    prepare_file(out)
    from .pictures import draw_curves
    from .strategies import rewards_of

    try:
        betas = [float(value) for value in beta.split(",")]
        lengths = [int(value) for value in tokens.split(",")]
        flags = [{"1": True, "0": False}[value.strip()] for value in correct.split(",")]
    except (ValueError, KeyError):
        fail("give --beta as numbers, --tokens as whole numbers and --correct as 1 or 0, separated by commas")
    if not all(-1 <= value <= 1 for value in betas):
        fail("--beta takes values from -1 to 1")
    if len(lengths) != len(flags) or not all(0 <= value < 2**31 for value in lengths):
        fail("--tokens and --correct must have the same number of values, and no length may be negative")
    try:
        rewards = rewards_of(strategy or ["deepcompress"])
        path = draw_curves(out, rewards, betas, lengths, flags, level)
    except (ShapingError, ValueError, OSError) as error:
        fail(reason(error))
    console().print(f"wrote {path}", markup=False)
