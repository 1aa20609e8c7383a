"""The emoji transformer: SD3's architecture (arXiv 2403.03206) in small, with flow matching."""

import torch
from diffusers import SD3Transformer2DModel
from torch import nn

from .diffusion import initialize_linears
from .latents import Latents
from .loop import Stage, TrainingRun
from .words import Words

BATCH = 128
TIMES = 1000  # the transformer is told the noise level times this
PROMPT_DROPOUT = 0.1
HEADS, HEAD_WIDTH, BLOCKS = 6, 32, 6


class PromptedTransformer(nn.Module):
    """The transformer and the embeddings of its prompts, which are trained together."""

    def __init__(self, words: Words) -> None:
        super().__init__()
        self.words = words
        self.transformer = build_transformer(words.places.shape[1])

    def forward(self, latents, levels, tokens):
        """Return the velocity (B, 4, 8, 8) at noise levels (B,) in [0, 1]."""
        captions, pooled = self.words(tokens)
        return self.transformer(
            latents,
            timestep=levels * TIMES,
            encoder_hidden_states=captions,
            pooled_projections=pooled,
        ).sample


def build_transformer(caption_width: int) -> SD3Transformer2DModel:
    """Build the transformer; modulation and output start at zero, as in ``diffusion``."""
    width = HEADS * HEAD_WIDTH
    model = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=BLOCKS,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=HEADS,
        joint_attention_dim=caption_width,
        caption_projection_dim=width,
        pooled_projection_dim=caption_width,
        pos_embed_max_size=4,
    )
    initialize_linears(model)
    blocks = model.transformer_blocks
    norms = [norm for block in blocks for norm in (block.norm1, block.norm1_context)]
    for linear in (*(norm.linear for norm in (*norms, model.norm_out)), model.proj_out):
        nn.init.zeros_(linear.weight)
    return model


def flow_loss(model, clean, noise, levels, tokens) -> torch.Tensor:
    """Return the squared error of the velocity ``noise - clean`` on the straight path."""
    at = levels.view(-1, 1, 1, 1)
    velocity = model((1 - at) * clean + at * noise, levels, tokens)
    return (velocity - (noise - clean)).square().mean()


def train_flow(
    run: TrainingRun,
    words: Words,
    latents: Latents,
    prompts: list[tuple[str, ...]],
    compiled: bool = False,
) -> PromptedTransformer:
    """Train on cached latents and return the averaged weights.

    Noise levels have SD3's logit-normal density. ``prompts`` are those of each image: its name
    stands for two of three draws, the others for the third.
    """
    torch.manual_seed(run.seed)
    words.table.reset_parameters()
    nn.init.normal_(words.places)
    model = PromptedTransformer(words).to(run.device)
    forward = torch.compile(model) if compiled else model
    weighted = [[titles[0], titles[0], titles[-1]] for titles in prompts]
    tokens = torch.stack([torch.stack([words.tokens(p) for p in three]) for three in weighted])
    null = words.tokens("")

    def losses(generator: torch.Generator) -> dict[str, torch.Tensor]:
        chosen, clean = latents.draw(BATCH, generator)
        noise = torch.randn(clean.shape, generator=generator)
        levels = torch.randn(BATCH, generator=generator).sigmoid()
        given = tokens[chosen, torch.randint(3, (BATCH,), generator=generator)]
        dropped = torch.rand(BATCH, 1, generator=generator) < PROMPT_DROPOUT
        given = torch.where(dropped, null, given)
        batch = (value.to(run.device) for value in (clean, noise, levels, given))
        return {"total": flow_loss(forward, *batch)}

    stage = Stage(run, model, losses, ema_decay=0.9995)
    stage.run()
    stage.use_ema()
    return model.eval()
