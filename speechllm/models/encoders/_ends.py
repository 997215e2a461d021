"""Convolutions that see zeros beyond each utterance's end, whatever stands there."""

from torch import nn

from speechllm.models.masks import zero_beyond


class UtteranceConv(nn.Conv1d):
    """Conv1d over (B, C, L) that takes what lies beyond `lengths` (B,) as zero.

    `lengths` is set before each call, because the layer stands deep inside somebody else's model.
    """

    lengths = None

    @classmethod
    def like(cls, conv: nn.Conv1d) -> "UtteranceConv":
        """Make one with the very parameters of `conv`."""
        layer = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            conv.bias is not None,
        )
        layer.weight, layer.bias = conv.weight, conv.bias
        return layer

    def forward(self, x):
        """Map x (B, C, L)."""
        return super().forward(zero_beyond(x, self.lengths, 2))
