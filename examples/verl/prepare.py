"""GSM8K-like rows as verl's parquet files: ``python prepare.py train.jsonl test.jsonl FOLDER``.

The reward manager reads the gold in ``reward_model.ground_truth`` and the phase in ``extra_info.split``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

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
    parser = argparse.ArgumentParser(description="Write GSM8K-like files of lines of JSON as verl's Parquet files.")
    parser.add_argument("train", help="the problems to train on: lines with `question` and `answer`")
    parser.add_argument("test", help="the problems to validate on")
    parser.add_argument("folder", type=Path, help="folder for train.parquet and test.parquet")
    chosen = parser.parse_args()
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        parser.error("pyarrow is not installed: pip install pyarrow")
    try:
        tables = {split: pyarrow.Table.from_pylist(rows(vars(chosen)[split], split)) for split in ("train", "test")}
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    except (ValueError, KeyError) as error:
        parser.error(f"a file is no list of lines with `question` and `answer`: {error}")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for split, table in tables.items():
        parquet.write_table(table, chosen.folder / f"{split}.parquet")


if __name__ == "__main__":
    main()
