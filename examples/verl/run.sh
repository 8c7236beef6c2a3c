#!/bin/sh
# GRPO with verl's V1 trainer, rewarded by deepcompress. DATA, MODEL and RUN come from the environment:
#   python prepare.py train.jsonl test.jsonl data
# PRESET is compress (the default: shorter answers on problems that the policy has mastered) or authors (docs/strategies.md#presets).
#   DATA=data MODEL=Qwen/Qwen2.5-3B RUN=my-run DEEPCOMPRESS_URL=http://127.0.0.1:8321 sh run.sh trainer.n_gpus_per_node=8
set -eu
: "${DATA:?a folder with train.parquet and test.parquet}" "${MODEL:?a model}" "${RUN:?the name of the run}"

exec python3 -m verl.trainer.main_ppo \
    data.train_files="$DATA/train.parquet" \
    data.val_files="$DATA/test.parquet" \
    data.train_batch_size=128 \
    data.max_prompt_length=1024 \
    data.max_response_length=8192 \
    actor_rollout_ref.model.path="$MODEL" \
    actor_rollout_ref.rollout.name=vllm \
    actor_rollout_ref.rollout.n=16 \
    actor_rollout_ref.actor.use_dynamic_bsz=True \
    actor_rollout_ref.actor.optim.lr=1e-6 \
    reward.reward_manager.source=importlib \
    reward.reward_manager.name=DeepCompressRewardManager \
    reward.reward_manager.module.path=pkg://deepcompress_client.integrations.verl \
    algorithm.adv_estimator=deepcompress_grpo \
    +algorithm.deepcompress.run="$RUN" \
    +algorithm.deepcompress.preset="${PRESET:-compress}" \
    +trainer.checkpoint_callback_class=deepcompress_client.integrations.verl.DeepCompressCheckpoint \
    trainer.save_freq=50 \
    trainer.test_freq=50 \
    "$@"
