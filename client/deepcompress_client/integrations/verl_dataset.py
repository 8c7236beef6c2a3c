"""verl 0.9: the service chooses the problems of each step, for trainings with the adapter `integrations.verl`.

    data.custom_cls.path=pkg://deepcompress_client.integrations.verl_dataset
    data.custom_cls.name=DeepCompressDataset
    data.shuffle=false
    data.dataloader_num_workers=0
    '+data.deepcompress=${algorithm.deepcompress}'
    '+algorithm.deepcompress.folder=${trainer.default_local_dir}'

verl 0.9 has no setting for a sampler, so a data set does it: verl asks for its positions in order, and position i has
a problem of step i // train_batch_size + 1. A resumed training asks for its next position, and so for its next step.

This file is imported by verl; nothing else imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.data import get_worker_info
from verl.utils.dataset.rl_dataset import RLHFDataset

from .._client import Client, Run
from ..sampler import ProblemRows
from ._common import FrameworkObject, client_options, gold_text, problem_name
from .verl import Settings, _messages

OWN = ("policy", "epochs")
"""Settings of ``data.curriculum``."""


class DeepCompressDataset(RLHFDataset):  # type: ignore[misc]
    """The training data in the order that the service chooses; other data, for validation, in their own.

    ``data.curriculum.policy``  a name or ``{name: ..., parameters}``; ``signal`` unless set
    ``data.curriculum.epochs``  passes over the data, of as many steps as its rows fill. It takes the place of
                                trainer.total_epochs, which must be 1

    Raises:
        ValueError: a setting does not fit.
    """

    def __init__(
        self,
        data_files: FrameworkObject,
        tokenizer: FrameworkObject,
        config: FrameworkObject,
        processor: FrameworkObject = None,
        max_samples: int = -1,
    ) -> None:
        super().__init__(data_files, tokenizer, config, processor=processor, max_samples=max_samples)
        self._problems: ProblemRows | None = None
        if _files(data_files) != _files(config.train_files):
            return
        settings = Settings.of(config)
        if settings is None:
            raise ValueError("data.deepcompress is missing: add '+data.deepcompress=${algorithm.deepcompress}'")
        if config.get("shuffle") or config.get("dataloader_num_workers"):
            raise ValueError(
                "set data.shuffle=false and data.dataloader_num_workers=0: the service's order must be kept, and a "
                "step be drawn when it is needed"
            )
        own = dict(config.get("curriculum") or {})
        if unknown := sorted(set(own) - set(OWN)):
            raise ValueError(f"data.curriculum has no setting {unknown[0]}, only {', '.join(OWN)}")
        self._settings = settings
        self._batch = int(config.train_batch_size)
        self._steps = len(self.dataframe) // self._batch * int(own.get("epochs", 1))
        if self._steps < 1:
            raise ValueError(f"the {len(self.dataframe)} rows do not fill one batch of {self._batch}")
        rows = [self._problem(row) for row in self.dataframe]
        self._problems = ProblemRows(
            self._opened,
            [row["problem_id"] for row in rows],
            self._batch,
            policy=_plain(own.get("policy", "signal")),
            register=list({row["problem_id"]: row for row in rows}.values()),
        )
        self._drawn: tuple[int, list[int]] = (0, [])
        self._position = -1

    def _problem(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row's problem by the name under which the reward manager sends it, and its data source."""
        gold = gold_text(row["reward_model"]["ground_truth"])
        messages = self._build_messages(dict(row), key=self.prompt_key)
        return {"problem_id": problem_name(_messages(messages), gold), "data_source": row.get("data_source")}

    def __len__(self) -> int:
        """Return the positions of the training, or the rows of other data."""
        return super().__len__() if self._problems is None else self._steps * self._batch

    def __getitem__(self, item: int) -> Any:  # noqa: ANN401 - verl's row
        """Return the row at a position.

        Raises:
            ValueError: verl does not request the positions one after the other.
        """
        if self._problems is None:
            return super().__getitem__(item)
        self._check(item)
        step = item // self._batch + 1
        if self._drawn[0] != step:
            self._drawn = (step, self._problems.of_step(step))
        rows = self._drawn[1]
        return super().__getitem__(rows[item % self._batch % len(rows)])

    def _check(self, item: int) -> None:
        if get_worker_info() is not None or self.config.get("gen_batch_size") not in (None, self._batch):
            raise ValueError(
                "a curriculum needs data.dataloader_num_workers=0, trainer mode sync, and no filter_groups: each "
                "batch has the problems of one step"
            )
        if item < self._position:
            raise ValueError("a second pass began: set trainer.total_epochs=1, and data.curriculum.epochs instead")
        self._position = item

    def _opened(self) -> Run:
        """Open the run as the reward managers do, whichever comes first, and return it with its epoch."""
        import ray

        settings = self._settings
        step = self._position // self._batch + 1
        epoch = ray.get(settings.opener().open.remote(0 if step <= 1 else step))
        run = Client(settings.url, **client_options(settings.deadline_s)).run(settings.run, join=True)
        run.epoch = epoch
        return run

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of verl's data set, without the run."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_problems"} | {"_problems": None}


def _files(files: FrameworkObject) -> list[str]:
    return [files] if isinstance(files, str) else [str(one) for one in files]


def _plain(policy: FrameworkObject) -> str | dict[str, Any]:
    from omegaconf import OmegaConf

    plain: str | dict[str, Any] = OmegaConf.to_container(policy) if OmegaConf.is_config(policy) else policy
    return plain
