"""Cross entropy of the answer against its formula; labels are smoothed in training alone."""

import pytest
import torch
from torch import nn

from speechllm.models import sliced
from speechllm.objectives.language_modelling import Config


class Answers:
    """As much of a pass as the objective asks."""

    def __init__(self, logits, targets):
        self.logits, self.targets, self.n_answers = logits, targets, len(targets)

    def answer_loss(self, smoothing=0.0):
        head = nn.Linear(self.logits.shape[1], self.logits.shape[1], bias=False)
        nn.init.eye_(head.weight)
        return sliced.cross_entropy(self.logits, head, self.targets, smoothing)


@pytest.mark.parametrize("training", [True, False])
def test_equals_the_formula(training):
    """With a share s of each label spread over all V tokens, in training."""
    torch.manual_seed(0)
    logits, targets = torch.randn(7, 5), torch.tensor([0, 4, 2, 2, 1, 3, 0])
    objective = Config(label_smoothing=0.2).build(None).train(training)
    loss, count = objective(Answers(logits, targets))
    logs = logits.double().log_softmax(-1)
    said, all_alike = -logs[range(7), targets], -logs.mean(-1)
    wanted = 0.8 * said + 0.2 * all_alike if training else said
    assert loss.item() == pytest.approx(wanted.sum().item(), rel=1e-5) and int(count) == 7


def test_accuracy_is_the_share_of_most_probable_tokens():
    result = Answers(torch.eye(3)[[0, 1, 2, 0]], torch.tensor([0, 1, 0, 0]))
    right, number = Config().build(None).metrics(result)["accuracy"]
    assert (int(right), int(number)) == (3, 4)
