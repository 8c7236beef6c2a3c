"""A tiny random model, and problems that it sometimes solves: the vocabulary has whole answers as tokens."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = [
    "<pad>",
    "<eos>",
    "<unk>",
    "is:\\boxed{1}",
    "is:\\boxed{2}",
    "so",
    "then",
    "what",
    "is",
    "it",
    "?",
    "one",
    "two",
]
PAD, EOS = 0, 1


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],  # transformers 4 adds token_type_ids, which Llama refuses
    )


def model(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=EOS,
        )
    )


def problems(count: int) -> list[dict[str, str]]:
    return [
        {"prompt": f"what is {'one' if n % 2 else 'two'} {'so ' * (n // 2)}?", "answer": str(2 - n % 2)}
        for n in range(count)
    ]
