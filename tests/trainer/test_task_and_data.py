"""The synthetic task says what it claims, and problems come in an order that a checkpoint can name."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from deepcompress_trainer import task
from deepcompress_trainer.data import Deck, Problem, chain_problems, held_out_chains, read_problems
from deepcompress_trainer.model import chain_tokenizer

from ..shared_data import shared_file

MIXED = task.Style(1, 1, 1, 1)
STYLES = [task.Style(skip=1), task.Style(short=1), task.Style(written=1), task.Style(checked=1), MIXED]


def test_a_chain_is_what_its_prompt_says() -> None:
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


def test_every_way_of_writing_is_as_long_as_the_task_says() -> None:
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


def test_the_deck_deals_every_problem_once_an_epoch_and_goes_on_from_a_cursor() -> None:
    problems = [Problem(str(n), str(n), "1", "easy") for n in range(10)]
    whole = Deck(problems, seed=4).draw(30)
    for begin in (0, 10, 20):
        assert {draw.problem.problem_id for draw in whole[begin : begin + 10]} == {p.problem_id for p in problems}
    assert len({draw.group_id for draw in whole}) == 30
    assert Deck(problems, seed=4, cursor=7).draw(9) == whole[7:16]
    assert [d.problem for d in Deck(problems, seed=5).draw(10)] != [d.problem for d in whole[:10]]


def test_jsonl_problems(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    rows = [{"problem_id": "a", "prompt": "1+1?", "gold": "2", "bin": "easy"}, {"prompt": "x?", "gold": ["1", "one"]}]
    file.write_text("\n".join(map(json.dumps, rows)))
    first, second = read_problems(str(file))
    assert (first.problem_id, first.bin) == ("a", "easy")
    assert (second.problem_id, second.gold) == ("1", ["1", "one"])


def test_a_problem_without_gold_is_refused_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "x"}')
    with pytest.raises(ValueError, match="row 1 has no 'gold'"):
        read_problems(str(file))


def test_gsm8k() -> None:
    problems = read_problems(f"gsm8k:{shared_file('gsm8k_test.jsonl')}")
    assert len(problems) == 1319
    assert problems[0].gold == "18"
    assert problems[0].prompt.endswith("\\boxed{}.")
    assert all("," not in str(problem.gold) for problem in problems)
    assert {problem.bin for problem in problems} == {"easy", "medium", "hard"}
