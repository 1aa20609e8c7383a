"""Calibration data of all layers of a tiny transformer."""

import torch

from mpqbench.conformance.layers import STEPS
from mpqbench.contracts import LayerData
from mpqbench.dit.blocks import BlockCall
from mpqbench.quant.block import BlockInputs


class Calibration:
    """Inputs of all layers from one run of ``model`` over four time steps."""

    def __init__(self, model, groups):
        self._seen = {}
        paths = {path for group in groups for path in group.layers}
        paths |= {f"transformer_blocks.{group.block}" for group in groups}
        hooks = [
            model.get_submodule(path).register_forward_pre_hook(self._keep(path)) for path in paths
        ]
        self._times = times = torch.tensor(STEPS).repeat_interleave(8)
        latents = torch.randn(len(times), 4, 8, 8, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            model(latents, times, torch.arange(len(times)) % 3)
        for hook in hooks:
            hook.remove()

    def layer(self, path):
        """What a plugin may know of the layer at ``path``."""
        seen, steps = self._seen[path], torch.tensor(STEPS)
        by_step = seen.reshape(len(STEPS), -1, seen.shape[-1])
        rows = by_step.flatten(0, 1)
        return LayerData(
            path,
            0,
            0,
            seed=3,
            inputs=rows.clone(),
            times=steps.repeat_interleave(by_step.shape[1]),
            moment=rows.T @ rows / len(rows),
            step_maxima=by_step.abs().amax(1),
            steps=steps,
        )

    def block(self, number):
        """Inputs of a block."""
        hidden = self._seen[f"transformer_blocks.{number}"].clone()
        given = {"timestep": self._times, "class_labels": torch.arange(len(self._times)) % 3}
        return BlockInputs(BlockCall({"hidden_states": hidden}, given), self._times)

    def _keep(self, path):
        def hook(_module, arguments):
            self._seen[path] = arguments[0].detach().clone()

        return hook
