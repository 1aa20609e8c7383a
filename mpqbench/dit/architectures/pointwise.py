"""A convolution of one pixel as a linear layer."""

import torch
from torch import nn


class Pointwise(nn.Module):
    """Applies ``linear``, with the weights of a 1 x 1 convolution, to every pixel.

    The convolution must have stride 1, no padding and one group.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight, bias = convolution.weight, convolution.bias
        outputs, inputs = weight.shape[:2]
        with torch.device("meta"):  # the weights follow
            self.linear = nn.Linear(inputs, outputs, bias=bias is not None)
        self.linear.weight = nn.Parameter(weight.flatten(1), weight.requires_grad)
        if isinstance(bias, nn.Parameter):
            self.linear.bias = bias
        self.train(convolution.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs (n, outputs, h, w) of x (n, inputs, h, w)."""
        rows = self.linear(x.flatten(2).transpose(1, 2))
        return rows.transpose(1, 2).unflatten(2, x.shape[2:])
