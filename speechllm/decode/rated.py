"""Decode and score in one, for a look at a model between two steps of its training."""

import math
from pathlib import Path

from speechllm.data.manifest import Manifest
from speechllm.decode import record
from speechllm.decode.run import Options, decode
from speechllm.models.model import SpeechLLM
from speechllm.models.system import System
from speechllm.score.run import score_file


def rated(
    system: System, model: SpeechLLM, manifest: Manifest, folder: Path, options: Options
) -> dict[str, float]:
    """Decode a manifest anew into `folder`; give {metric of its task: percent, "decoded": rows}.

    A rate that is undefined, without any reference word, is left out.
    """
    decode(system, model, manifest, folder, options, again=True)
    metric = record.task_metric(system, options.task)
    result = score_file(folder / record.ANSWERS, metric, missing="leave")
    value = {} if math.isnan(result.value) else {result.metric: result.value}
    return {**value, "decoded": len(result.utterances)}
