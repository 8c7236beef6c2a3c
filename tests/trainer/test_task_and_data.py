"""The synthetic task is as described, and problems come in an order that a checkpoint can name."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from deepcompress_trainer import task
from deepcompress_trainer.data import Problem, ProblemSampler, chain_problems, held_out_chains, read_problems
from deepcompress_trainer.model import chain_tokenizer

from ..shared_data import data_files

MIXED = task.Style(1, 1, 1, 1)
STYLES = [task.Style(skip=1), task.Style(short=1), task.Style(written=1), task.Style(checked=1), MIXED]


def test_a_chain_equals_its_prompt() -> None:
    chain = task.Chain(3, ("+8", "*3", "-2"), first_label=25)
    assert chain.prompt == "3 z +8 a *3 b -2 ="
    assert chain.answer == ((3 + 8) * 3 - 2) % 10


@pytest.mark.parametrize("style", STYLES)
def test_a_demonstration_without_slips_ends_in_the_answer(style: task.Style) -> None:
    rng = random.Random(1)
    for operations in range(1, 17):
        chain = task.draw_chain(rng, operations)
        response = task.demonstrate(chain, style, 0.0, rng)
        assert response.endswith(f"\\boxed{{ {chain.answer} }}")


def test_every_way_of_writing_has_its_declared_length() -> None:
    chain = task.Chain(3, ("+8", "*3"), 2)
    ways = {
        "short": "+8 1 *3 3",
        "written": "c +8 1 d *3 3",
        "checked": "c +8 1 ? c +8 1 d *3 3 ? d *3 3",
        "skip": "",
    }
    for way, words in ways.items():
        said = task.demonstrate(chain, task.Style(**{way: 1.0}), 0.0, random.Random(0))
        assert said.split() == [*words.split(), "\\boxed{", "3", "}"]


def test_longer_styles_survive_slips_better() -> None:
    def right(style: task.Style) -> float:
        rng = random.Random(2)
        chains = [task.draw_chain(rng, 12) for _ in range(400)]
        said = [task.demonstrate(chain, style, 0.05, rng) for chain in chains]
        return sum(s.endswith(f"{{ {c.answer} }}") for s, c in zip(said, chains, strict=True)) / len(chains)

    assert right(task.Style(written=1)) < 0.7 < 0.9 < right(task.Style(checked=1))


def test_every_word_is_one_token_and_comes_back() -> None:
    tokenizer = chain_tokenizer()
    rng = random.Random(3)
    chain = task.draw_chain(rng, 8)
    text = f"{chain.prompt} {task.demonstrate(chain, MIXED, 0.3, rng)}"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text.split()) + 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_training_chains_hold_no_held_out_prompt() -> None:
    held_out = held_out_chains(160, operations=(1, 3))
    training = chain_problems(1500, operations=(1, 3), seed=5, held_out=160)
    assert not {p.prompt for p in held_out} & {p.prompt for p in training}
    assert {p.bin for p in held_out_chains(32, operations=(1, 16))} == {"easy", "medium", "hard"}


@pytest.mark.parametrize(
    ("operations", "counts", "message"),
    [
        ((0, 3), (10,), "1 to 26 operations, not 0 to 3"),
        ((5, 2), (10,), "not 5 to 2"),
        ((3, 27), (10,), "not 3 to 27"),
        ((1, 1), (5000, 461), "5,461 chains of length 1 are asked for, and only 5,460 are different"),
        ((1, 2), (10_921,), "only 5,460"),
    ],
)
def test_chains_that_do_not_exist_are_refused_and_not_looked_for_for_ever(
    operations: tuple[int, int], counts: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        task.check_chains(operations, *counts)
    with pytest.raises(ValueError, match=message):
        task.chain_rows(counts[0], operations=operations, seed=0, exclude=frozenset(map(str, range(sum(counts[1:])))))


def test_every_chain_that_exists_can_be_asked_for() -> None:
    assert len(task.chain_rows(5460, operations=(1, 1), seed=0)) == 5460
    assert len(chain_problems(64, operations=(26, 26), seed=0, held_out=8)) == 64


def test_the_deck_deals_every_problem_once_an_epoch_and_goes_on_from_a_cursor() -> None:
    problems = [Problem(str(n), str(n), "1", "easy") for n in range(10)]
    whole = ProblemSampler(problems, seed=4).draw(30)
    for begin in (0, 10, 20):
        assert {draw.problem.problem_id for draw in whole[begin : begin + 10]} == {p.problem_id for p in problems}
    assert len({draw.group_id for draw in whole}) == 30
    assert ProblemSampler(problems, seed=4, cursor=7).draw(9) == whole[7:16]
    assert [d.problem for d in ProblemSampler(problems, seed=5).draw(10)] != [d.problem for d in whole[:10]]


def test_jsonl_problems(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    rows = [{"problem_id": "a", "prompt": "1+1?", "gold": "2", "bin": "easy"}, {"prompt": "x?", "gold": ["1", "one"]}]
    file.write_text("\n".join(map(json.dumps, rows)))
    first, second = read_problems(str(file))
    assert (first.problem_id, first.bin) == ("a", "easy")
    assert (second.problem_id, second.gold) == ("1", ["1", "one"])


def test_numbers_are_gold_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "x", "gold": 1}\n\n{"prompt": "y", "gold": [0.5, "1/2"]}\n  \n')
    assert [problem.gold for problem in read_problems(str(file))] == ["1", ["0.5", "1/2"]]
    assert [problem.problem_id for problem in read_problems(str(file))] == ["0", "1"]


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("", '{"prompt": "x"}', "has no 'gold'"),
        ("", '{"gold": "x"}', "has no 'prompt'"),
        ("", '{"prompt": 3, "gold": "x"}', "has a 'prompt' that is no text"),
        ("", '{"prompt": "x", "gold": []}', "has the 'gold' "),
        ("", '{"prompt": "x", "gold": true}', "has the 'gold' True"),
        ("", '{"prompt": "x", "gold": "1"', "is not JSON"),
        ("", "[1]", "is no JSON object"),
        ("gsm8k:", '{"question": "x"}', "has no 'answer'"),
        ("gsm8k:", '{"question": "x", "answer": "18"}', "has an 'answer' without ####"),
    ],
)
def test_a_row_that_is_no_problem_is_named_with_its_file(tmp_path: Path, kind: str, row: str, message: str) -> None:
    file = tmp_path / "p.jsonl"
    good = {"prompt": "x", "gold": "1", "question": "x", "answer": "#### 1"}
    file.write_text(f"{json.dumps(good)}\n{row}\n")
    with pytest.raises(ValueError, match=rf"p\.jsonl: row 2 {message}"):
        read_problems(f"{kind}{file}")


GSM8K = {"gsm8k.jsonl": (6, "54"), "gsm8k_test.jsonl": (1319, "18")}
"""Problems of each file, and the answer of the first."""


@pytest.mark.parametrize("file", data_files("gsm8k.jsonl", "gsm8k_test.jsonl"), ids=lambda file: file.name)
def test_gsm8k(file: Path) -> None:
    problems = read_problems(f"gsm8k:{file}")
    assert (len(problems), problems[0].gold) == GSM8K[file.name]
    assert problems[0].prompt.endswith("\\boxed{}.")
    assert all("," not in str(problem.gold) for problem in problems)
    assert {problem.bin for problem in problems} == {"easy", "medium", "hard"}
