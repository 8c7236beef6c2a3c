"""Units as text: the same quantity in every dress, and nothing else."""

from __future__ import annotations

import random

import pytest

from deepcompress_verify.compare.unit_text import read_unit, split_unit
from deepcompress_verify.decide import decide
from deepcompress_verify.verdict import Verdict

DRESSES = (
    (r"\text{J/(mol·K)}", r"\mathrm{J} \mathrm{K}^{-1} \mathrm{~mol}^{-1}",
     r"\frac{\text{J}}{\text{mol}\cdot\text{K}}",
     r"\mathrm{JK}^{-1} \mathrm{~mol}^{-1}", r"\text{ J/(mol K)}", r"\mathrm{J\,mol^{-1}\,K^{-1}}",
     r"\text{ J/mol/K}", r"\text{ J/mol·K}"),
    (r"\text{psi}", r"\mathrm{lb} \mathrm{in}^{-2}", r"\text{lb/in}^2"),
    (r"\mathrm{ft-lb}", r"\text{ft·lb}", r"\text{ foot-pounds}"),
    (r"\text{ seconds}", r"\text{ sec}", r"\mathrm{s}", "秒"),
    (r"\text{ cm}^3", r"\text{ cc}", r"\text{ cubic centimeters}", r"\text{ mL}"),
    (r"\text{ m/s}^2", r"\text{ meters per second squared}", r"\mathrm{m}\,\mathrm{s}^{-2}"),
    (r"\text{ km/h}", "千米/时", r"\text{ kilometers per hour}"),
    (r"\text{ yuan}", "元"),
    (r"\text{ kWh}", r"\text{ kW h}", r"\text{ kW}\cdot\text{h}"),
    (r"\text{ mol/L}", r"\text{ mol dm}^{-3}", r"\mathrm{mol\,L^{-1}}"),
    (r"\text{ rpm}", r"\text{ revolutions per minute}"),
    (r"\text{ per meter}", r"\text{ m}^{-1}", r"\mathrm{m^{-1}}"),
)  # fmt: skip


def correct(gold: str, answer: str) -> bool:
    verdict = decide((gold,), answer)
    return isinstance(verdict, Verdict) and verdict.correct


@pytest.mark.parametrize("seed", range(30))
def test_dresses(seed: int) -> None:
    rng = random.Random(seed)
    value, other = rng.sample(range(2, 500), 2)
    group, another = rng.sample(range(len(DRESSES)), 2)
    for one in DRESSES[group]:
        for two in DRESSES[group]:
            assert correct(rf"{value}\ {one}", rf"{value}\ {two}"), (one, two)
            assert not correct(rf"{value}\ {one}", rf"{other}\ {two}"), (one, two)
        for foreign in DRESSES[another]:
            assert not correct(rf"{value}\ {one}", rf"{value}\ {foreign}"), (one, foreign)
        assert correct(rf"{value}\ {one}", str(value)), one
        assert not correct(rf"{value}\ {one}", str(other)), one


@pytest.mark.parametrize(
    ("gold", "answer"),
    [(r"0.118\ \mathrm{nm}", r"118\ \text{pm}"), (r"3\text{ mol/L}", r"3\text{ M}"),
     (r"\$12.50", r"\text{USD }12.50"), (r"9.81\text{ m/s}^2", r"9.81\text{ ms}^{-2}"),
     (r"500\text{ nm}", r"5000\ \text{Å}"),
     (r"\text{Rs. } 500", "500"), (r"5\text{ m/s}", r"18\text{ km/h}")],
)  # fmt: skip
def test_prefixes_and_conversions(gold: str, answer: str) -> None:
    assert correct(gold, answer)


@pytest.mark.parametrize(
    "unit",
    ["m north", "thousand m", "m per", "m//s", "g/h·s/m", "J/mol K", "m^", "rejected", "m or s", "not m", "m(s",
     "xyz", "m above", "square", "hours later", "·m", "m·"],
)  # fmt: skip
def test_what_is_no_unit(unit: str) -> None:
    assert read_unit(rf"\text{{ {unit}}}") is None


def test_a_letter_is_no_unit_of_a_number_without_one() -> None:
    assert split_unit("5m") is None
    assert not correct("5", "5m")
    assert not correct("5 pm", "5")


@pytest.mark.parametrize(
    ("gold", "answer"),
    [(r"5\text{ V}", r"5\text{ V/A}"), (r"5\text{ J/mol}", r"5\text{ J/mol·K}"), (r"\$12.50", "€12.50"),
     ("42", r"42\text{ M}"), (r"5\text{ ms}", r"5\text{ ms}^{-1}"), (r"5\text{ m/s}", r"5\text{ ms}^{-2}"),
     (r"5\text{ rpm}", r"5\text{ Hz}")],
)  # fmt: skip
def test_other_units(gold: str, answer: str) -> None:
    assert not correct(gold, answer)
    assert not correct(answer, gold)
