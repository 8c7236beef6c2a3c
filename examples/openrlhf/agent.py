"""The executor that OpenRLHF loads with ``--train.agent_func_path agent.py``. The numbers are those of run.sh."""

import os

from deepcompress_client.integrations.openrlhf import agent_executor

AgentExecutor = agent_executor(
    run=os.environ["RUN"],
    groups_per_step=128,  # --rollout.batch_size
    train_temperature=1.0,  # --rollout.temperature
    eval_temperature=0.6,  # --eval.temperature
    next_step=int(os.environ.get("NEXT_STEP", "0")),  # resuming after N rollout batches: N
)
