#!/bin/sh
# GRPO with OpenRLHF, rewarded by deepcompress. DATA (rows with "question" and the gold "answer"), MODEL and RUN come from the
# environment; NEXT_STEP=N resumes after N rollout batches:
#   DATA=train.jsonl MODEL=Qwen/Qwen2.5-3B RUN=my-run DEEPCOMPRESS_URL=http://127.0.0.1:8321 sh run.sh
set -eu
: "${DATA:?a file of problems}" "${MODEL:?a model}" "${RUN:?the name of the run}"

exec python3 -m openrlhf.cli.train_ppo_ray \
    --actor.model_name_or_path "$MODEL" \
    --data.prompt_dataset "$DATA" \
    --data.input_key question \
    --data.label_key answer \
    --data.apply_chat_template \
    --train.agent_func_path "$(dirname "$0")/agent.py" \
    --rollout.batch_size 128 \
    --rollout.n_samples_per_prompt 16 \
    --rollout.temperature 1.0 \
    --eval.temperature 0.6 \
    --algo.advantage.estimator group_norm \
    "$@"
