"""The lines that the pages of docs/integrations show, run as they stand. Pages of frameworks that can be installed
have their lines run inside the framework, by the tests named after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, Literal

import httpx
import pydantic
import pytest

from deepcompress_client import Client, errors

from . import live, reference, test_adapters
from .pages import PAGES, ROOT, blocks
from .stand_ins import played, played_areal
from .test_adapters import GROUPS

RUN = "my-run"


@pytest.fixture(autouse=True)
def address(service: live.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages name no address: it comes from the environment."""
    monkeypatch.setenv("DEEPCOMPRESS_URL", service.url)
    with contextlib.suppress(errors.NotFound):
        Client(service.url).delete_run(RUN)  # every page names the same run


def run_block(page: str, place: int = 0, **given: Any) -> dict[str, Any]:
    namespace: dict[str, Any] = dict(given)
    exec(compile(blocks(page)[place], f"{page}.md", "exec", dont_inherit=True), namespace)
    return namespace


def test_every_adapter_has_a_page_and_the_index_names_it() -> None:
    index = (PAGES / "README.md").read_text()
    folder = ROOT / "client" / "deepcompress_client" / "integrations"
    elsewhere = {"verifiers", "trl_async", "trl_sampler", "verl_dataset"}  # on the pages of prime-rl, TRL and verl
    adapters = {path.stem for path in folder.glob("[a-z]*.py")} - elsewhere
    for page in adapters | {"nemo_gym"}:
        assert (PAGES / f"{page}.md").exists(), page
        assert f"({page}.md)" in index, page
    assert "verifiers" in (PAGES / "prime_rl.md").read_text()


def test_pages_name_only_files_that_exist() -> None:
    for page in PAGES.glob("*.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "README"))
def test_every_page_shows_a_preset(page: str) -> None:
    text = (PAGES / f"{page}.md").read_text()
    assert 'preset="compress"' in text or "preset=compress" in text
    assert "strategies.md#presets" in text


def test_slime(service: live.Service) -> None:
    hooks = run_block("slime")
    args, samples = test_adapters.slime_args(), test_adapters.slime_samples(GROUPS[:2])

    async def rollout() -> list[Any]:
        return [await hooks["custom_rm"](args, sample) for sample in samples]

    assert asyncio.run(rollout()) == [float(correct) for group in GROUPS[:2] for correct, _ in group]
    raw, trained = hooks["post_process"](args, samples)
    level = reference.next_level(1.0, GROUPS[:2])
    assert raw == pytest.approx([r for group in GROUPS[:2] for r in reference.rewards(group, level)], abs=1e-9)
    assert len(trained) == len(samples)
    assert asyncio.run(hooks["eval_rm"](args, samples[0])) == 1.0


def test_miles(service: live.Service) -> None:
    hooks = run_block("miles")
    args, samples = test_adapters.slime_args(), test_adapters.miles_samples(GROUPS[:2])

    async def rollout() -> list[Any]:
        return [await hooks["custom_rm"](args, sample) for sample in samples]

    assert asyncio.run(rollout()) == [float(correct) for group in GROUPS[:2] for correct, _ in group]
    assert len(hooks["post_process"](args, samples)[1]) == len(samples)


def test_axolotl(monkeypatch: pytest.MonkeyPatch) -> None:
    """The YAML names what the page's rewards.py has, and the plugin by its path."""
    names = run_block("axolotl")
    (shown,) = blocks("axolotl", "yaml")
    assert "reward_funcs: [rewards.reward]" in shown and "reward" in names
    path = re.findall(r"deepcompress_client\S+", shown)[0]
    assert path.rpartition(".")[2] == type(test_adapters.axolotl_plugin(monkeypatch)).__name__


def test_skyrl(monkeypatch: pytest.MonkeyPatch) -> None:
    played(
        monkeypatch,
        "skyrl.train.generators.skyrl_gym_generator",
        SkyRLGymGenerator=test_adapters.SkyGenerator,
    )
    generator = run_block("skyrl")["Generator"](True)
    generator.next = GROUPS
    output = asyncio.run(generator.generate(test_adapters.sky_batch(GROUPS, 1, "train")))
    level = reference.next_level(1.0, GROUPS)
    assert [one[-1] for one in output["rewards"]] == pytest.approx(
        [r for group in GROUPS for r in reference.rewards(group, level)], abs=1e-9
    )


def test_areal(monkeypatch: pytest.MonkeyPatch) -> None:
    played_areal(monkeypatch)
    played(monkeypatch, "areal.workflow.rlvr", RLVRWorkflow=test_adapters.ArealWorkflow)
    workflow = run_block("areal")["Workflow"](tokenizer=test_adapters.Words())
    data = {"prompt": "what", "answer": "7"}
    engine = list(GROUPS[0])

    async def group() -> list[Any]:
        return list(await asyncio.gather(*(workflow.arun_episode(engine, data) for _ in GROUPS[0])))

    found = asyncio.run(group())
    expected = reference.rewards([(correct, tokens) for correct, tokens, _ in found], 1.0)
    assert [reward for _, _, reward in found] == pytest.approx(expected, abs=1e-9)


def test_prime_rl() -> None:
    given: list[float] = []

    class Algorithm:
        """prime-rl constructs algorithms with their configuration and the policy's pool."""

        def __init__(self, config: Any, policy_pool: Any) -> None:
            pass

    config = run_block("prime_rl", 2, GRPOAlgoConfig=pydantic.BaseModel, Literal=Literal)["DeepCompressAlgoConfig"]
    names = run_block("prime_rl", 1, assign_advantages=lambda _, value: given.append(value), GRPOAlgorithm=Algorithm)
    algorithm = names["DeepCompressAlgorithm"](config(run=RUN), None)
    asyncio.run(algorithm.score_group(test_adapters.episodes(GROUPS[0], "g", 0)))
    rewards = reference.rewards(GROUPS[0], 1.0)
    mean = sum(rewards) / len(rewards)
    assert given == pytest.approx([reward - mean for reward in rewards], abs=1e-9)


def test_nemo_rl(monkeypatch: pytest.MonkeyPatch) -> None:
    played(monkeypatch, "nemo_rl.algorithms.grpo", apply_reward_shaping=None)
    names = run_block("nemo_rl")
    assert sys.modules["nemo_rl.algorithms.grpo"].apply_reward_shaping is names["shaping"]  # type: ignore[attr-defined]


def test_roll() -> None:
    class Loop:
        async def process_new_prompt(self, context: Any) -> None:
            return None

    names = run_block("roll", UserDefinedRolloutLoop=Loop)
    assert asyncio.run(names["DeepCompressLoop"]().process_new_prompt(SimpleNamespace(is_val=False))) is None


def test_rllm() -> None:
    registered: dict[str, Any] = {}

    def register(name: str) -> Any:
        return lambda function: registered.setdefault(name, function)

    names = run_block("rllm", register_rllm_adv_estimator=register)
    assert names["evaluate"]({"answer": "7"}, "so \\boxed{7}")[:2] == (1.0, True)
    steps = [SimpleNamespace(model_output=SimpleNamespace(completion_ids=[1] * 3))]
    group = SimpleNamespace(group_id="t:solver", trajectories=[SimpleNamespace(steps=steps)] * 2)
    found, _ = registered["deepcompress"]([[1.0, 0.0]], None, traj_groups=[group])
    assert found[0][0] > 0 > found[0][1]


@pytest.mark.parametrize(
    ("page", "body"),
    [
        ("openrlhf", {"query": ["Q \\boxed{7}"], "prompts": ["Q "], "labels": ["7"]}),
        ("slime", {"prompt": "Q", "response": "\\boxed{7}", "label": "7"}),
        ("roll", {"response": "\\boxed{7}", "reward_info": {"ground_truth": "7"}}),
    ],
)
def test_addresses_on_the_pages_answer(service: live.Service, page: str, body: dict[str, Any]) -> None:
    shown = "".join(blocks(page, ""))
    addresses = re.findall(r"http://127\.0\.0\.1:8321(/compat/\S+)", shown)
    assert addresses
    answer = httpx.post(service.url + addresses[0], json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    if page == "roll":
        request_id = answer.json()["reward_request_id"]
        result = httpx.request("GET", service.url + addresses[1], json={"reward_request_id": request_id}, timeout=30)
        assert result.json()["reward_score"] == 1.0


def test_examples_compile_and_scripts_parse() -> None:
    for path in (ROOT / "examples").rglob("*.py"):
        compile(path.read_text(), str(path), "exec")
    for path in (ROOT / "examples").rglob("*.sh"):
        subprocess.run(["sh", "-n", str(path)], check=True)


# --- the client stays thin ------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["deepcompress_client", "deepcompress_client.integrations"])
def test_importing_the_client_brings_no_framework(module: str) -> None:
    """`python bench/import_time.py` prints how long it takes."""
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"torch", "transformers", "trl", "verl", "ray", "httpx", "fastapi"} & set(loaded)


@pytest.mark.parametrize(
    "adapter",
    ["trl", "openrlhf", "slime", "ms_swift", "skyrl", "prime_rl", "verifiers", "nemo_rl", "areal", "roll", "rllm"],
)
def test_adapters_import_no_framework(adapter: str) -> None:
    """All but verl's, which verl itself imports."""
    code = f"import sys, deepcompress_client.integrations.{adapter}; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not {"torch", "transformers", "accelerate", "trl", "ray", "openrlhf", "swift", "areal"} & loaded
