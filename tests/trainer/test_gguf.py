"""A model in a GGUF file is read, computes, and can be saved as a plain folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deepcompress_trainer.model import load_policy, save_policy

gguf = pytest.importorskip("gguf", reason="needs gguf: the extra [trainer]")

WIDTH, HEADS, INNER = 16, 2, 32


def write_tiny_llama(file: Path) -> None:
    """One random layer over a byte-level vocabulary of the printable ASCII characters."""
    letters = [chr(code) for code in range(33, 127)] + ["Ġ"]
    words = ["<|end|>", *letters, "ab"]
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3] + [1] * (len(words) - 1))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    rng = np.random.default_rng(0)
    shapes = {
        "token_embd.weight": (len(words), WIDTH),
        "output.weight": (len(words), WIDTH),
        "output_norm.weight": (WIDTH,),
        "blk.0.attn_norm.weight": (WIDTH,),
        "blk.0.ffn_norm.weight": (WIDTH,),
        **{f"blk.0.attn_{name}.weight": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": (INNER, WIDTH),
        "blk.0.ffn_up.weight": (INNER, WIDTH),
        "blk.0.ffn_down.weight": (WIDTH, INNER),
    }
    for name, shape in shapes.items():
        writer.add_tensor(name, rng.normal(0, 0.5, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_is_read_and_saved_as_a_plain_folder(tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    write_tiny_llama(tmp_path / "packed" / "tiny.gguf")
    policy = load_policy(tmp_path / "packed")
    assert policy.end_ids == (0,)
    ids = policy.encode_prompt("ab c", chat=False)
    assert policy.decode(ids) == "ab c"

    save_policy(policy, tmp_path / "plain")  # transformers refuses to save a model that it read from GGUF
    again = load_policy(tmp_path / "plain")
    with torch.no_grad():
        one = policy.model(input_ids=torch.tensor([ids])).logits
        other = again.model(input_ids=torch.tensor([ids])).logits
    assert torch.equal(one, other)
    assert one.isfinite().all() and one.std() > 0
