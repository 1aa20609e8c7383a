"""The Diffusion Transformer: DiT-XL/2's architecture with 12 blocks of width 128."""

import math

import torch
from diffusers import DiTTransformer2DModel
from torch import nn

from .latents import Latents
from .loop import Stage, TrainingRun

BATCH = 128
STEPS = 1000
CLASSES = 10
LABEL_DROPOUT = 0.1
VARIANCE_WEIGHT = 1e-3


def build_transformer() -> DiTTransformer2DModel:
    """Build the transformer with the DiT paper's initial weights.

    diffusers expects converted weights and initializes none, so adaLN-zero is set here: modulation
    and output layers start at zero (arXiv 2212.09748, section 3.2).
    """
    model = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=32,
        in_channels=4,
        out_channels=8,
        num_layers=12,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=CLASSES,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
        activation_fn="gelu-approximate",
        attention_bias=True,
    )
    initialize_linears(model)
    embedding = model.transformer_blocks[0].norm1.emb
    for weight in (
        embedding.timestep_embedder.linear_1.weight,
        embedding.timestep_embedder.linear_2.weight,
        embedding.class_embedder.embedding_table.weight,
    ):
        nn.init.normal_(weight, std=0.02)
    for block in model.transformer_blocks:
        nn.init.zeros_(block.norm1.linear.weight)
    nn.init.zeros_(model.proj_out_1.weight)
    nn.init.zeros_(model.proj_out_2.weight)
    _follow_original(model)
    return model


def initialize_linears(model: nn.Module) -> None:
    """Initialize linear layers and the patch embedding as the DiT paper does, biases at zero."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    projection = model.pos_embed.proj
    nn.init.xavier_uniform_(projection.weight.view(projection.weight.shape[0], -1))
    nn.init.zeros_(projection.bias)


def _follow_original(model: DiTTransformer2DModel) -> None:
    """Set the original DiT's time frequencies and norm epsilon instead of diffusers' own.

    The published DiT-XL/2 weights were trained with them; ours are too, so that one setting of the
    protocol is right for both.
    """
    for block in model.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0
        block.norm1.emb.class_embedder.dropout_prob = 0.0  # labels are dropped by the loop
        block.norm3.eps = 1e-6


class _Once(nn.Module):
    """One embedder for all blocks, evaluated once per forward, as all copies would be equal."""

    def __init__(self, embedder: nn.Module) -> None:
        super().__init__()
        self.embedder = embedder
        self.value: torch.Tensor | None = None

    def forward(self, timestep, class_labels, hidden_dtype=None):
        if self.value is None:
            self.value = self.embedder(timestep, class_labels, hidden_dtype=hidden_dtype)
        return self.value


class Denoiser(nn.Module):
    """The transformer with its conditioning computed once; ``untie`` makes a plain model."""

    def __init__(self, transformer: DiTTransformer2DModel) -> None:
        super().__init__()
        self.shared = _Once(transformer.transformer_blocks[0].norm1.emb)
        for block in transformer.transformer_blocks:
            block.norm1.emb = self.shared
        self.transformer = transformer

    def forward(self, latents, timesteps, labels):
        self.shared.value = None
        return self.transformer(latents, timesteps, labels).sample

    def untie(self) -> DiTTransformer2DModel:
        """Return a new transformer with one copy of the embedder in every block."""
        plain = build_transformer()
        state = {}
        for name, value in self.transformer.state_dict().items():
            state[name.replace("norm1.emb.embedder.", "norm1.emb.")] = value
        plain.load_state_dict(state)
        return plain.eval()


class Diffusion:
    """Linear betas over 1,000 steps, epsilon target, learned variance range (arXiv 2102.09672)."""

    def __init__(self, device: str = "cpu") -> None:
        betas = torch.linspace(1e-4, 2e-2, STEPS, dtype=torch.float64)
        alphas = (1 - betas).cumprod(0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), alphas[:-1]])
        posterior = betas * (1 - before) / (1 - alphas)
        posterior[0] = posterior[1]  # the log at step 0 would be -inf
        self.signal = alphas.sqrt().float().to(device)
        self.noise = (1 - alphas).sqrt().float().to(device)
        self.log_beta = betas.log().float().to(device)
        self.log_posterior = posterior.log().float().to(device)
        self.from_start = (betas * before.sqrt() / (1 - alphas)).float().to(device)

    def losses(self, model, clean, steps, labels, noise) -> dict[str, torch.Tensor]:
        """Return the squared error of epsilon and the bound on the variance for a fixed mean."""
        at = lambda table: table[steps].view(-1, 1, 1, 1)  # noqa: E731
        noisy = at(self.signal) * clean + at(self.noise) * noise
        epsilon, range_ = model(noisy, steps, labels).chunk(2, dim=1)
        error = (epsilon - noise).square().mean()
        share = (range_ + 1) / 2
        log_variance = share * at(self.log_beta) + (1 - share) * at(self.log_posterior)
        # The posterior means differ only through the estimate of the clean latent.
        estimate = (noisy - at(self.noise) * epsilon.detach()) / at(self.signal)
        gap = at(self.from_start) * (estimate - clean)
        true = at(self.log_posterior)
        divergence = log_variance - true + (true - log_variance).exp() - 1
        divergence = 0.5 * (divergence + gap.square() * (-log_variance).exp())
        bound = divergence.mean() / math.log(2.0)
        # STEPS x bound is the full variational bound; x 1e-3 is its weight in the original.
        total = error + VARIANCE_WEIGHT * STEPS * bound
        return {"total": total, "mse": error, "bound": bound}


def train_transformer(
    run: TrainingRun, latents: Latents, labels: torch.Tensor, compiled: bool
) -> DiTTransformer2DModel:
    """Train on cached latents and return a transformer with the averaged weights."""
    torch.manual_seed(run.seed)
    denoiser = Denoiser(build_transformer()).to(run.device)
    diffusion = Diffusion(run.device)
    forward = torch.compile(denoiser) if compiled else denoiser

    def losses(generator: torch.Generator) -> dict[str, torch.Tensor]:
        chosen, clean = latents.draw(BATCH, generator)
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.randint(STEPS, (BATCH,), generator=generator)
        dropped = torch.rand(BATCH, generator=generator) < LABEL_DROPOUT
        classes = torch.where(dropped, CLASSES, labels[chosen])
        given = (value.to(run.device) for value in (clean, times, classes, noise))
        return diffusion.losses(forward, *given)

    stage = Stage(run, denoiser, losses, ema_decay=0.9995)
    stage.run()
    stage.use_ema()
    return denoiser.untie()
