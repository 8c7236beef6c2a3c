"""A stand-in on the CPU for the accelerator and the rollout engine that verl needs. Three parts:

    CPU       the platform: torch's CPU device under the name of verl's plug-in interface, gloo in place of NCCL
    Engine    the rollout engine: it samples from the tiny model with the weights that verl sent
    Adapter   the trainer's side of the engine: it sends the weights

verl imports this module in every process, named in ``VERL_USE_EXTERNAL_MODULES``. All else of a training is verl's
own.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Generator, Iterator
from typing import Any

import ray
import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry, set_platform
from verl.workers.rollout import base as rollout_base
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput

NAME = "tiny"
"""The value of ``actor_rollout_ref.rollout.name``."""


class _Device(types.ModuleType):
    """``torch.cpu`` with the functions of ``torch.cuda`` that verl calls: no memory is counted or freed."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(torch.cpu, name, None)
        return found if found is not None else lambda *_, **__: 0

    def is_available(self) -> bool:
        """Report no device, so that verl logs no memory of it."""
        return False

    def get_rng_state(self) -> torch.Tensor:
        """Return the state of the one generator."""
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor) -> None:
        """Restore the state of the one generator."""
        torch.set_rng_state(state)

    def mem_get_info(self) -> tuple[int, int]:
        """Return no free and no total memory."""
        return 0, 0

    def get_device_name(self) -> str:
        """Return a name that verl has no speed for."""
        return "cpu"


@PlatformRegistry.register(platform="cpu")
class CPU(PlatformBase):
    """The CPU as verl's device. Ray counts it under the name of a GPU, since verl asks for GPUs by that name."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _Device("device")

    def is_available(self) -> bool:
        return True

    def current_device(self) -> Any:
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: int | None = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> Any:
        return None


class Engine:
    """Sample token by token from the tiny model, with the weights of the newest update."""

    def __init__(self) -> None:
        from tests.integrations.tiny_model import model

        self.model = model().eval()
        self.global_steps = 0
        self.generator = torch.Generator().manual_seed(0)

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any
    ) -> TokenOutput:
        """Return at most ``max_tokens`` tokens, as verl's single-turn agent loop asks for them."""
        from tests.integrations.tiny_model import EOS

        limit = sampling_params.get("max_tokens") or sampling_params.get("max_new_tokens") or 12
        tokens: list[int] = []
        chances: list[float] = []
        with torch.no_grad():
            while len(tokens) < limit and (not tokens or tokens[-1] != EOS):
                logits = self.model(torch.tensor([[*prompt_ids, *tokens]])).logits[0, -1]
                tokens.append(int(torch.multinomial(logits.softmax(-1), 1, generator=self.generator)))
                chances.append(float(logits.log_softmax(-1)[tokens[-1]]))
        return TokenOutput(
            token_ids=tokens,
            log_probs=chances,
            stop_reason="completed",
            extra_fields={"global_steps": self.global_steps},
        )

    async def update_weights(self, weights: dict[str, torch.Tensor], global_steps: int | None) -> None:
        """Take the trainer's weights, every one of them."""
        self.model.load_state_dict(weights, strict=True)
        self.global_steps = global_steps or 0

    async def wait(self, *_: Any, **__: Any) -> None:
        """Do nothing: this engine frees no memory and its requests end by themselves."""

    sleep = wake_up = abort_all_requests = resume_generation = clear_kv_cache = wait
    release_kv_cache = resume_kv_cache = start_profile = stop_profile = set_global_steps = wait


class Replica(RolloutReplica):
    """One engine, as a Ray actor that the adapter finds by its name."""

    async def launch_servers(self) -> None:
        """Start the engine."""
        engine = ray.remote(num_cpus=0)(Engine).options(name=f"tiny_engine_{self.replica_rank}").remote()
        self.servers = [engine]
        self._server_handle = engine
        self._server_address = f"127.0.0.1:{1 + self.replica_rank}"


class Adapter(rollout_base.BaseRollout):
    """Send the weights of one trainer process to its engine."""

    async def resume(self, tags: list[str]) -> None:
        pass

    async def release(self) -> None:
        pass

    async def update_weights(
        self,
        weights: Generator[tuple[str, torch.Tensor], None, None],
        wire_format: str = "named_tensors",
        **more: Any,
    ) -> None:
        """Send every tensor, under the names of transformers."""
        assert wire_format == "named_tensors"
        sent = {name: tensor.detach().float().cpu().clone() for name, tensor in weights}
        engine = ray.get_actor(f"tiny_engine_{torch.distributed.get_rank()}")
        await engine.update_weights.remote(sent, more.get("global_steps"))


_init_process_group = torch.distributed.init_process_group


def init_process_group(backend: str | None = None, **options: Any) -> None:
    """Start gloo once: verl names one backend for the CPU and one for its device."""
    _init_process_group("gloo" if backend == "cpu:gloo,cpu:gloo" else backend, **options)


torch.distributed.init_process_group = init_process_group
rollout_base._ROLLOUT_REGISTRY[NAME, "async"] = f"{__name__}.Adapter"
RolloutReplicaRegistry.register(NAME, lambda: Replica)
set_platform(CPU())
