"""The parts of the OpenAPI document that FastAPI does not derive.

They are the introduction, tags and keys, the bodies that routes read themselves, and a description for each field
without its own.

A field that has one name has one meaning, so the descriptions are by name; ``Model.field`` comes before ``field``.
Fields that are described where they are declared are not here. tests/api/test_openapi.py finds a field without a
description, and an entry that describes none.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

INTRODUCTION = """\
This service checks the answers of a reasoning model and returns rewards that depend on their length: shorter correct
answers earn more on problems that the policy has mastered, longer ones on problems that it has not. Difficulty is
measured from the policy's own pass ratios ([arXiv 2510.27419](https://arxiv.org/abs/2510.27419)).

| you have | you call |
|---|---|
| whole groups of responses, with gold answers | `POST /v1/score`: verdicts and rewards |
| responses and gold answers | `POST /v1/verify`: verdicts |
| verdicts and lengths | `POST /v1/shape`: rewards |
| one response at a time | `POST /v1/rollouts`: its reward when its group is complete |
| a data set | `POST /v1/runs/{run}/sample`: the problems to train on next |

A **group** is the responses to one problem in one step. A **run** is one training: its level, steps and problems.
It is created by its first training request or by `PUT /v1/runs/{run}`, and is read and changed under `/v1/runs`.

**Retries** are safe: a group that is sent again gets the same rewards and is not counted again. **Errors** are
problem details (RFC 9457); the last part of `type` is a name that does not change. **Lengths** are in tokens, ratios
between 0 and 1. Unknown fields of a request are errors.

Links: [dashboard](/) · [strategies](/v1/strategies) · [metrics](/metrics) · [this description as JSON](/openapi.json)
"""

TAGS = [
    {"name": "scoring", "description": "Check answers and compute rewards."},
    {"name": "runs", "description": "Create, read, save, rewind, move and delete the state of trainings."},
    {
        "name": "frameworks",
        "description": "Endpoints in the formats of RL frameworks that call a reward server of their own kind.",
    },
    {"name": "service", "description": "Health, readiness and metrics."},
]

KEYS: dict[str, dict[str, str]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key. It is needed if the service has API keys (DEEPCOMPRESS_API_KEYS).",
    },
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key, for clients that cannot set `Authorization`.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "An API key as the password, with any user name. It reads only: GET requests.",
    },
}
OPEN_PATHS = frozenset({"/healthz", "/readyz"})

FIELDS = {
    # identity and time
    "run": "name of the run: the state of one training",
    "epoch": "number of the run's state; it rises when the run is rewound, restored, imported or deleted",
    "step": "the training step",
    "VerifyItem.step": "the training step that observes the item",
    "generation": "the generation batch of the step, if a step has several",
    "phase": "`train` counts in the run's state; `eval` changes nothing",
    "problem_id": "name of the problem; its record is kept under this name for the whole run",
    "group_id": "name of the group within its step; by default the problem's",
    "rollout_id": "name of the rollout, unique in its group",
    "rollout_index": "index of the rollout in its group, from 0",
    "Verdict.id": "the item's id, else its position in the request",
    # requests
    "items": "the responses to check",
    "ShapeRequest.groups": "the groups of the step; a step may be sent in several requests",
    "ScoreRequest.groups": "the groups of the step; a step may be sent in several requests",
    "rollouts": "the responses to the problem",
    "HistoryEntry.rollouts": "number of rollouts of the step",
    "gold": "the gold answer, or alternatives of which any one suffices",
    "response": "the text of the rollout",
    "truncated": "true if the generation limit cut the response off",
    "HistoryEntry.truncated": "rollouts that were cut off",
    "answer_format": "the rule that finds the answer in a response; by default the run's",
    "RunConfig.answer_format": "the rule that finds the answer in a response",
    "checker": "the checker of items without their own; by default the run's for the data_source, else math",
    "ShapeRollout.correct": "true if the answer is correct",
    "ObservedRollout.correct": "true if the answer is correct",
    "ObserveRequest.groups": "the groups whose rollouts are observed",
    "group_ids": "the groups that are dropped",
    "next_step": "the step that the caller sends next; null forgets all steps",
    "checkpoint": "name of the checkpoint to restore",
    "CheckpointRequest.step": "the step at whose end the state is saved",
    # answers
    "verdicts": "one verdict for each item or rollout, in the order sent",
    "verdict": "the verdict of this rollout",
    "Verdict.correct": "true only if the answer was shown to be correct",
    "status": "`correct`, `wrong`, or the reason why the answer could not be judged",
    "warnings": "possible faults of the run or request, each as `name: text`",
    "ShapeAnswer.groups": "the rewards of each group, in the order sent",
    "ScoreAnswer.groups": "the rewards and verdicts of each group, in the order sent",
    "pass_ratio": "share of the group's checked rollouts that are correct",
    "level": "the run's reference level: a running mean of the pass ratio, with which problems are compared",
    "beta": "pass ratio minus level: above 0 shorter correct answers earn more, below 0 longer ones do",
    "difficulty": "`simple` for beta above 0, `hard` below 0, `even` at 0; null if the strategy has none",
    "rewards": "the reward of each rollout",
    "reward": "the reward of this rollout",
    "components": "the parts of the rewards",
    "RewardComponents.outcome": "the part for a correct or wrong answer, for each rollout",
    "RewardComponents.length": "the part for the length, for each rollout",
    "RewardComponents.overlong": "the part for responses near the generation limit, for each rollout",
    "RolloutAnswer.outcome": "the part for a correct or wrong answer",
    "RolloutAnswer.length": "the part for the length",
    "RolloutAnswer.overlong": "the part for a response near the generation limit",
    "GroupRewards.correct": "true for each rollout that is correct",
    "ScoredGroup.correct": "true for each rollout that is correct",
    "RolloutAnswer.correct": "true if the answer is correct",
    "HistoryEntry.correct": "number of correct rollouts",
    "GroupRewards.trainable": "false for rollouts that must not be trained on, such as undecided ones",
    "ScoredGroup.trainable": "false for rollouts that must not be trained on, such as undecided ones",
    "RolloutAnswer.trainable": "false if the rollout must not be trained on, for example an undecided one",
    "replayed": "true if the group was recorded before: the same rewards, not counted again",
    "stale": "true if the group came after its step was closed: rewarded and not counted",
    "batch_pass_ratio": "mean pass ratio of the groups of the request or step",
    # runs
    "config": "the run's configuration",
    "problems": "number of problems with a record",
    "ProblemPage.problems": "the problems of this page",
    "created": "true if this request created the run",
    "steps": "the steps, oldest first",
    "HistoryEntry.groups": "number of groups that count",
    "simple": "number of simple groups",
    "hard": "number of hard groups",
    "stale_groups": "groups that came after the step was closed",
    "observed_groups": "groups that were put together from observed rollouts",
    "mean_tokens": "mean length of all rollouts",
    "mean_tokens_correct": "mean length of the correct rollouts",
    "mean_tokens_wrong": "mean length of the wrong rollouts",
    "mean_tokens_simple": "mean length of the rollouts of simple groups",
    "mean_tokens_hard": "mean length of the rollouts of hard groups",
    "closed": "false while the step still takes groups",
    "last_pass_ratio": "the group pass ratio at the last step that counted the problem",
    "last_beta": "beta at the last step that counted the problem",
    "last_step": "the last step that counted the problem",
    "shortest_correct_tokens": "length of the shortest correct rollout",
    "mean_correct_tokens": "mean length of the correct rollouts",
    "p10": "length that 10 % of the correct rollouts do not exceed",
    "p50": "length that half of the correct rollouts do not exceed",
    "p90": "length that 90 % of the correct rollouts do not exceed",
    "Signal.groups": "number of groups of the request",
    "ObserveAnswer.groups": "the result for each group, in the order sent",
    # the configuration of a run
    "RunConfig.strategy": "the rule of the length reward, with its parameters (GET /v1/strategies)",
    "length_weight": "factor of the length reward; a number or a schedule",
    "RunConfig.overlong": "a penalty for responses near the generation limit",
    "keep_steps": "closed steps whose records are kept for late retries",
    "groups_per_step": "number of groups that close a step; by default the first group of a later step closes it",
    "StrategyConfig.name": "name of the strategy",
    "Outcome.correct": "reward of a correct answer",
    "Outcome.wrong": "reward of a wrong answer",
    "schedule": "points [closed steps, value], with straight lines between them",
    "max_tokens": "length at which the penalty is greatest: the generation limit",
    "buffer_tokens": "tokens before max_tokens at which the penalty begins",
    "factor": "the greatest penalty",
    "variant": "the penalty beyond max_tokens, as in the named framework",
    "min_pass_ratio": "pass ratio from which a group has a length reward",
    "Gate.of": "compare the pass ratio of the group, or the lesser of the group's and the problem's stored one",
    "min_stored": "least stored pass ratio of the problem; a problem without a record has none",
    "Guard.of": "watch the accuracy of the whole run, or of each problem",
    "top_share": "share of the request's groups, by pass ratio, that have a length reward",
    "margin": "fall of accuracy that is accepted",
    "z": "standard errors by which the fall must exceed the margin",
    "min_rollouts": "rollouts of a problem that are needed before its record is used",
    "quantile": "quantile of the problem's stored correct lengths",
    "slack": "factor of that quantile; the product is the target",
    "bonus": "reward for rollouts within the target, in groups whose rollouts are all correct",
    "bonus_while": "`always`, or `spread`: only while the median of the problem's lengths is over the target",
    "current": "true: the group's own correct lengths count as stored ones",
    "form": "`excess`: a penalty that grows beyond the target; `limit`: beyond it, the reward of a wrong answer",
    "centre": "the mean that is subtracted: the group's",
    "scale": "division by the group's standard deviation, or none",
    "decouple": "true: outcome and length are centred and scaled apart",
    "whiten": "`batch`: mean 0 and standard deviation 1 over the tokens of the step",
    "weight": "factor of the score; a number or a schedule",
    "only_if_correct": "true: the score counts for correct rollouts only",
    # the formats of frameworks
    "query": "prompt and response as one text, for each rollout",
    "prompts": "the prompt of each rollout",
    "labels": "the gold answer of each rollout",
    "prompt": "the prompt; it is not read",
    "label": "the gold answer",
    "VerifyBody.response": "the model's response in the format of the Responses API",
    "verify_responses": "rows that the verify endpoint returned",
    "reward_info": "the row's data",
    "ground_truth": "the gold answer",
    "global_step": "the training step",
    "data_id": "name of the problem",
    "reward_request_id": "the id that submit_task returned",
    # parameters of paths and queries
    "since": "first step to return",
    "cursor": "`next` of the page before; the first page has none",
    "limit": "most rows to return",
    "history.limit": "most steps to return, from the newest",
    "problems.difficulty": "only problems of this difficulty",
    "sort": "order of the problems; a minus sign reverses it",
    "search": "part of the problem's name",
    "outcome_range": "range of the rewards: from -1 to 1, or from 0 to 1",
}
"""Description of a field or parameter by its name, or by its model (a parameter: its operation) and its name."""


_request_models: list[type[BaseModel]] = []
"""The models of the bodies that routes read themselves."""


def documented(model: type[BaseModel], *examples: dict[str, Any]) -> dict[str, Any]:
    """Return `openapi_extra` for a route that reads its own body: the schema by reference, and examples."""
    _request_models.append(model)
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    if examples:
        content["examples"] = {
            f"{model.__name__}-{number}": {"summary": "a request that works as it is", "value": example}
            for number, example in enumerate(examples, 1)
        }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def complete(schema: dict[str, Any]) -> None:
    """Add the parts that are missing to an OpenAPI document."""
    schema["info"]["description"] = INTRODUCTION
    schema["tags"] = TAGS
    components = schema.setdefault("components", {})
    _add_request_models(components.setdefault("schemas", {}))
    components["securitySchemes"] = KEYS
    schema["security"] = [{}, *({name: []} for name in KEYS)]
    for model, definition in components["schemas"].items():
        for name, field in definition.get("properties", {}).items():
            _describe(field, model, name)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                _describe(parameter, path.rpartition("/")[2], parameter["name"])
            if path in OPEN_PATHS:
                operation["security"] = []


def _add_request_models(schemas: dict[str, Any]) -> None:
    """Add the schemas that `documented` names by reference."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in _request_models], ref_template="#/components/schemas/{model}"
    )
    for name, definition in definitions.get("$defs", {}).items():
        schemas.setdefault(name, definition)


def _describe(part: dict[str, Any], owner: str, name: str) -> None:
    text = FIELDS.get(f"{owner}.{name}", FIELDS.get(name))
    if text is not None:
        part.setdefault("description", text)
