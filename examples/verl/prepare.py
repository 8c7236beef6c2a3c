"""GSM8K-like rows as verl's parquet files: ``python prepare.py train.jsonl test.jsonl FOLDER``.

The reward manager reads the gold in ``reward_model.ground_truth`` and the phase in ``extra_info.split``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow
from pyarrow import parquet

INSTRUCTION = "\nThink step by step, and put the final answer in \\boxed{}."


def rows(path: str, split: str) -> list[dict[str, object]]:
    """Return the rows of a GSM8K file in verl's form."""
    with open(path, encoding="utf-8") as lines:
        return [
            {
                "data_source": Path(path).stem,
                "prompt": [{"role": "user", "content": row["question"] + INSTRUCTION}],
                "reward_model": {"style": "rule", "ground_truth": row["answer"].rpartition("####")[2].strip()},
                "extra_info": {"split": split, "index": index},
            }
            for index, row in enumerate(map(json.loads, lines))
        ]


def main() -> None:
    """Write the training and the validation file."""
    train, test, folder = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for path, split in ((train, "train"), (test, "test")):
        parquet.write_table(pyarrow.Table.from_pylist(rows(path, split)), Path(folder) / f"{split}.parquet")


if __name__ == "__main__":
    main()
