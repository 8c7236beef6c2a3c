"""deepcompress_trainer: the bundled trainer, GRPO as in DAPO with rewards from the service over HTTP.

Read `train.py` first: one training step, from prompt to optimiser, is there in one function. The rest:

    config.py      every setting, with what it does to the length signal
    data.py        problems: JSONL, GSM8K, the synthetic task; the order they are drawn in
    task.py        the synthetic task: chains of modular arithmetic, its words, its demonstrations
    model.py       a causal language model and its tokenizer from a local folder, GGUF too, or a tiny new one
    generate.py    sampling: a key-value-cache loop that drops finished rows, or transformers' own
    rewards.py     the service's part: verify while generating, shape, checkpoint, restore
    grpo.py        the algorithm as pure functions: filter, advantages, loss, and the diagnostics of both
    evaluate.py    avg@k and greedy, by difficulty bin, with confidence intervals
    checkpoint.py  everything a run is, written so that a kill at any moment loses only steps, never numbers
    run_logger.py       progress, JSONL, TensorBoard; plot.py the pictures
    sft.py         the warm-up on worked solutions that makes start checkpoints

It talks to the service only through `deepcompress_client`. Nothing here imports `deepcompress_service`.
"""
