"""A causal language model and its tokenizer: from a local folder (transformers' files or GGUF), or a tiny new one.

Nothing is downloaded, and no code of a model's folder is run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from . import task

transformers_logging.disable_progress_bar()  # the trainer has its own


@dataclass(frozen=True, slots=True)
class Policy:
    """A model with its tokenizer and its end tokens."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    end_ids: tuple[int, ...]
    """Token ids that end a response; the first is the one to teach, the tokenizer's own."""
    pad_id: int

    def encode_prompt(self, prompt: str, *, chat: bool) -> list[int]:
        """Return the token ids of a prompt, through the chat template or as plain text."""
        if chat:
            messages = [{"role": "user", "content": prompt}]
            encoded = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=True
            )
            return list(encoded["input_ids"])
        return list(self.tokenizer(prompt)["input_ids"])

    def check_chat(self) -> None:
        """Check that the tokenizer has a chat template.

        Raises:
            ValueError: it has none.
        """
        if self.tokenizer.chat_template is None:
            raise ValueError("chat: the tokenizer has no chat template; leave chat off, or give the model one")

    def decode(self, ids: list[int]) -> str:
        """Return a response's text, without special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


def load_policy(path: str | Path, *, device: str | torch.device = "cpu") -> Policy:
    """Load the model in `path`: a folder in transformers' format, or a ``.gguf`` file (or a folder with one).

    Weights are float32; on CUDA the trainer computes in bfloat16 under autocast.

    Raises:
        FileNotFoundError: there is no model.
        ValueError: the folder or file cannot be read as one, or lacks weights.
    """
    path = Path(path)
    gguf = path if path.suffix == ".gguf" else next(iter(sorted(path.glob("*.gguf"))), None)
    if not path.exists():
        raise FileNotFoundError(f"no model at {path}")
    try:
        if gguf is not None and not (path / "config.json").exists():
            model, tokenizer = _load_gguf(gguf)
        else:
            tokenizer = AutoTokenizer.from_pretrained(path, **_OPTIONS)
            model = _with_every_weight(path, dtype=torch.float32)
    except Exception as error:  # their types depend on the damage: those of safetensors, pickle, torch, ...
        why = str(error).partition("\n")[0]
        raise ValueError(f"{path} is not a model in transformers' format: {why or type(error).__name__}") from None
    return as_policy(model.to(device), tokenizer)


_OPTIONS: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Nothing is downloaded, and code in the folder is neither run nor offered to be."""


def _with_every_weight(path: Path, **options: Any) -> PreTrainedModel:  # noqa: ANN401
    """Load a model whose files have all of its weights: transformers draws those that are missing at random.

    Raises:
        ValueError: a weight is missing.
    """
    model, found = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True, **_OPTIONS, **options)
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"{len(missing)} weights are missing, {missing[0]} among them")
    return model


def as_policy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Policy:
    """Return a policy; the ids that end a response are the tokenizer's and those of the model's generation settings.

    Raises:
        ValueError: there is no end token.
    """
    eos = getattr(model.generation_config, "eos_token_id", None)
    ends = [
        tokenizer.eos_token_id,
        *sorted(end for end in (eos if isinstance(eos, list) else [eos]) if end is not None),
    ]
    end_ids = tuple(dict.fromkeys(end for end in ends if end is not None))
    if not end_ids:
        raise ValueError("the tokenizer has no end-of-sequence token: a response could never end")
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end_ids[0]
    return Policy(model, tokenizer, end_ids, int(pad_id))


def _load_gguf(file: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a GGUF file as a plain float32 model.

    transformers leaves a `quantization_config` on a model from GGUF, which then cannot be saved; so the weights are
    copied into a new model.
    """
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, **_OPTIONS)
    read = _with_every_weight(file.parent, gguf_file=file.name, dtype=torch.float32)
    config = type(read.config).from_dict(
        {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    )
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    return model.to(torch.float32), tokenizer


def on_cpu(wanted: str) -> bool:
    """Return whether to compute on the CPU, for the setting `device`.

    Raises:
        ValueError: CUDA is requested by name and is not available. Training would otherwise be very slow without
            a warning.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ValueError("device: cuda is set and torch finds none")
    return wanted == "cpu" or not available


def autocast(device: torch.device) -> torch.autocast:
    """Return the context for a forward pass: bfloat16 on CUDA, float32 on a CPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """Set every dropout of the model to 0; return the model.

    In training mode, which gradient checkpointing needs, dropout would make the update's log-probabilities differ
    from those of the policy that sampled.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():  # arguments of functional dropout in transformers
            if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
                setattr(module, name, 0.0)
    return model


def save_policy(policy: Policy, folder: Path) -> None:
    """Write model and tokenizer as a folder that `load_policy`, TRL and vLLM read."""
    policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)


def chain_tokenizer() -> PreTrainedTokenizerFast:
    """Return the synthetic task's tokenizer: one token per word. Prompts start with ``<bos>``."""
    vocabulary = {word: index for index, word in enumerate(task.VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=task.PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{task.BOS} $A", special_tokens=[(task.BOS, vocabulary[task.BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=task.PAD,
        bos_token=task.BOS,
        eos_token=task.EOS,
        unk_token=task.PAD,
        clean_up_tokenization_spaces=False,
    )


def new_tiny_policy(*, width: int = 128, layers: int = 2, heads: int = 4, seed: int = 0) -> Policy:
    """Return a new Llama for the synthetic task, with 335 thousand parameters by default.

    `initializer_range` is 0.08, since with transformers' 0.02 a model of this size makes no progress for hundreds of
    steps.
    """
    tokenizer = chain_tokenizer()
    config = LlamaConfig(
        vocab_size=len(task.VOCABULARY),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=512,
        initializer_range=0.08,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(seed)
    return as_policy(LlamaForCausalLM(config), tokenizer)
