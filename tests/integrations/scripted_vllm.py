"""A stand-in on the CPU for the vLLM that TRL's asynchronous trainer needs, which needs a GPU. Three parts:

    serve()       the HTTP addresses that TRL calls; it samples from the tiny model with the weights it was sent
    install()     the functions that TRL imports of vLLM 0.28: the weights go over a TCP connection in place of NCCL
    attention()   the function that TRL calls of a FlashAttention 3 kernel

Run as a script with a port, it serves. All else of a training is TRL's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import sys
import threading
import time
import types
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from typing import Any
from urllib.parse import urlsplit

import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.integrations.tiny_model import EOS, model
from tests.ports import free_port

LENGTH = 64


def digest(weights: dict[str, torch.Tensor]) -> str:
    """Return a hash of a model's weights."""
    content = hashlib.sha256()
    for name in sorted(weights):
        content.update(name.encode() + weights[name].detach().numpy().tobytes())
    return content.hexdigest()


# --- the trainer's side -----------------------------------------------------------------------------------


def connect(info: dict[str, Any]) -> Any:
    """Wait for the server's connection, as `trainer_init` waits for the server to join the NCCL group."""
    with socket.create_server((info["master_address"], info["master_port"])) as listener:
        connection, _ = listener.accept()
    return types.SimpleNamespace(group=types.SimpleNamespace(store=connection, socket=connection))


def broadcast(iterator: Any, group: Any, src: int, post_iter_func: Any) -> None:
    """Send the tensors one after the other; the server has their names and shapes from `update_weights`."""
    del src
    for item in iterator:
        group.group.socket.sendall(post_iter_func(item).cpu().numpy().tobytes())


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    key_starts: torch.Tensor,
    longest: int,
    longest_key: int,
    softmax_scale: float | None = None,
    causal: bool = True,
    window_size: tuple[int, int] = (-1, -1),
) -> torch.Tensor:
    """Return the causal attention of segments of one row, each over keys of its own, [tokens, heads, size]."""
    del longest, longest_key
    assert causal and window_size == (-1, -1)
    parts = []
    for segment in range(len(starts) - 1):
        q = query[starts[segment] : starts[segment + 1]].transpose(0, 1)
        k = key[key_starts[segment] : key_starts[segment + 1]].transpose(0, 1)
        v = value[key_starts[segment] : key_starts[segment + 1]].transpose(0, 1)
        behind = k.shape[1] - q.shape[1]  # a segment's tokens are the last of its keys
        seen = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(behind)
        parts.append(scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=softmax_scale).transpose(0, 1))
    return torch.cat(parts)


def install() -> None:
    """Put the modules in place that TRL imports of vLLM. Call it before TRL is imported, in each process."""
    modules: dict[str, dict[str, Any]] = {
        "vllm": {"__version__": "0.28.0"},
        "vllm.utils": {},
        "vllm.utils.network_utils": {"get_ip": lambda: "127.0.0.1", "get_open_port": free_port},
        "vllm.distributed": {},
        "vllm.distributed.weight_transfer": {},
        "vllm.distributed.weight_transfer.nccl_common": {"trainer_init": connect},
        "vllm.distributed.weight_transfer.packed_tensor": {"packed_nccl_broadcast_producer": broadcast},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        vars(module).update(content, __path__=[], __file__=__file__)
        sys.modules[name] = module


def without_a_gpu() -> None:
    """Put `attention` in place of the kernel, and None in place of the GPU's speed, in the process that trains."""
    from trl.experimental.async_grpo import async_grpo_trainer, packing

    async_grpo_trainer.get_peak_flops_per_device = lambda *_: None
    packing._flash_attn = lambda: types.SimpleNamespace(flash_attn_varlen_func=attention)


# --- the server -------------------------------------------------------------------------------------------


class Engine:
    """The model, which begins with other weights than the trainer's, and the connection over which it gets them."""

    def __init__(self) -> None:
        self.model = model(seed=1).eval()
        self.counts: Counter[str] = Counter()
        self._weights = threading.Lock()
        self._running = threading.Event()
        self._running.set()
        self._connection: socket.socket | None = None

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer one POST."""
        self.counts[path] += 1
        if path == "/v1/completions":
            return self._complete(**body)
        if path == "/pause":
            self._running.clear()
        elif path == "/resume":
            self._running.set()
        elif path == "/init_weight_transfer_engine":
            self._join(body["init_info"])
        elif path == "/update_weights":
            self._receive(body["update_info"])
        else:
            assert path in ("/start_weight_update", "/finish_weight_update"), path
        return {}

    def get(self, path: str) -> dict[str, Any]:
        """Answer one GET."""
        answers: dict[str, dict[str, Any]] = {
            "/health": {},
            "/v1/models": {"data": [{"max_model_len": LENGTH}]},
            "/server_info": {"vllm_config": {"model_config": {"dtype": "torch.float32"}}},
            "/get_world_size": {"world_size": 1},
            "/counts": {**self.counts, "weights": digest(dict(self.model.named_parameters()))},  # for the tests
        }
        return answers[path]

    @torch.no_grad()
    def _complete(self, prompt: list[int], max_tokens: int, temperature: float, seed: int, **_: Any) -> Any:
        chance = torch.Generator().manual_seed(seed)
        tokens: list[int] = []
        chosen: list[float] = []
        while len(tokens) < max_tokens and (not tokens or tokens[-1] != EOS):
            self._running.wait()
            with self._weights:
                scores = self.model(torch.tensor([prompt + tokens])).logits[0, -1] / temperature
            log_probs = scores.log_softmax(-1)
            tokens.append(int(torch.multinomial(log_probs.exp(), 1, generator=chance)))
            chosen.append(float(log_probs[tokens[-1]]))
        return {"choices": [{"token_ids": tokens, "logprobs": {"token_logprobs": chosen}}]}

    def _join(self, info: dict[str, Any]) -> None:
        for left in reversed(range(100)):
            try:
                self._connection = socket.create_connection((info["master_address"], info["master_port"]))
                return
            except OSError:
                if not left:
                    raise
                time.sleep(0.1)

    @torch.no_grad()
    def _receive(self, info: dict[str, Any]) -> None:
        assert self._connection is not None and not self._running.is_set()
        own = dict(self.model.named_parameters())
        stream = self._connection.makefile("rb")
        with self._weights:
            for name, dtype, shape in zip(info["names"], info["dtype_names"], info["shapes"], strict=True):
                assert (dtype, shape) == ("float32", list(own[name].shape))
                sent = bytearray(stream.read(4 * own[name].numel()))
                own[name].copy_(torch.frombuffer(sent, dtype=torch.float32).reshape(shape))


def serve(port: int) -> None:
    """Serve until the process ends."""
    torch.set_num_threads(1)
    engine = Engine()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(engine.post(urlsplit(self.path).path, json.loads(body or b"{}")))

        def do_GET(self) -> None:
            self._answer(engine.get(urlsplit(self.path).path))

        def _answer(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # of a trainer that was killed
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
