"""Every architecture samples what the pipeline of diffusers samples from the same noise."""

from functools import partial

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    SanaPipeline,
    StableDiffusion3Pipeline,
)
from pipelines import ABSENT, FLUX_ABSENT, SIZES, UNGUIDED, save

from mpqbench.core.errors import BenchError
from mpqbench.core.protocol import Protocol
from mpqbench.dit.loading import load_model
from mpqbench.dit.prompt_files import read_prompt_embeddings
from mpqbench.dit.sampling import Sampler

STEPS, IMAGES = 4, 3


def ours(folder, embeddings, guidance):
    """Final latents of our sampler, and the noise that it began with."""
    model = load_model(str(folder))
    model.transformer.prompts = read_prompt_embeddings(embeddings, model.transformer)
    protocol = Protocol(
        name="t", images=IMAGES, steps=STEPS, guidance=guidance, micro_batch=IMAGES,
        sampler="own", convention="diffusers", image_size=SIZES.get(folder.name),
    )  # fmt: skip
    sampler = Sampler(model, protocol, seed=0, device="cpu")
    (batch,) = sampler.batches(0, IMAGES)
    with torch.inference_mode():
        noise = sampler.begin(0)[0]
    return torch.from_numpy(batch.latents), noise, model.transformer.prompts


def stock_mmdit(folder, noise, table, guidance):
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, **ABSENT)
    negative = torch.full((IMAGES,), len(table))
    return pipeline(
        height=16,
        width=16,
        latents=noise,
        guidance_scale=guidance,
        num_inference_steps=STEPS,
        prompt_embeds=table.embeddings[:IMAGES],
        negative_prompt_embeds=table.embeddings[negative],
        pooled_prompt_embeds=table.pooled[:IMAGES],
        negative_pooled_prompt_embeds=table.pooled[negative],
        output_type="latent",
    ).images


def stock_flux(folder, noise, table, guidance):
    pipeline = FluxPipeline.from_pretrained(folder, **FLUX_ABSENT)
    side = noise.shape[-1] * pipeline.vae_scale_factor
    final = pipeline(
        height=side,
        width=side,
        latents=pipeline._pack_latents(noise, *noise.shape),
        guidance_scale=guidance,
        num_inference_steps=STEPS,
        prompt_embeds=table.embeddings[:IMAGES],
        pooled_prompt_embeds=table.pooled[:IMAGES],
        output_type="latent",
    ).images
    return pipeline._unpack_latents(final, side, side, pipeline.vae_scale_factor)


def _masked(pipeline, noise, table, guidance):
    """What a pipeline samples whose prompts have a mask."""
    side = pipeline.vae_scale_factor * noise.shape[-1]
    negative = torch.full((IMAGES,), len(table))
    return pipeline(
        height=side,
        width=side,
        use_resolution_binning=False,
        latents=noise,
        negative_prompt=None,
        guidance_scale=guidance,
        num_inference_steps=STEPS,
        prompt_embeds=table.embeddings[:IMAGES],
        negative_prompt_embeds=table.embeddings[negative],
        prompt_attention_mask=table.mask[:IMAGES],
        negative_prompt_attention_mask=table.mask[negative],
        output_type="latent",
    ).images


def stock_pixart(folder, noise, table, guidance, cls=PixArtSigmaPipeline):
    pipeline = cls.from_pretrained(folder, text_encoder=None, tokenizer=None)
    # Ours samples with DDIM on the noise levels of the solver.
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    if pipeline.transformer.use_additional_conditions:
        # The stock pipeline tells the size only to a transformer of 128 x 128 latents.
        pipeline.transformer.register_to_config(sample_size=128)
    return _masked(pipeline, noise, table, guidance)


def stock_sana(folder, noise, table, guidance):
    pipeline = SanaPipeline.from_pretrained(folder, text_encoder=None, tokenizer=None)
    # Ours samples with Euler steps on the noise levels of the solver.
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=pipeline.scheduler.config.flow_shift)
    return _masked(pipeline, noise, table, guidance)


STOCK = {
    "mmdit": stock_mmdit,
    "mmdit-dual": stock_mmdit,
    "flux": stock_flux,
    "flux-schnell": stock_flux,
    "pixart": stock_pixart,
    "pixart-alpha": partial(stock_pixart, cls=PixArtAlphaPipeline),
    "sana": stock_sana,
}


@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize("name", STOCK)
def test_final_latents_are_those_of_the_stock_pipeline(tmp_path, name, guidance):
    folder, embeddings = save(name, tmp_path / name)
    if name in UNGUIDED and guidance > 1:
        with pytest.raises(BenchError, match=r"guidance 4\.5 is not for this transformer"):
            ours(folder, embeddings, guidance)
        return
    latents, noise, table = ours(folder, embeddings, guidance)
    theirs = STOCK[name](folder, noise.clone(), table, guidance)
    assert (latents - theirs).norm() < 1e-4 * theirs.norm()
    assert (latents - noise).norm() > 0.1 * noise.norm()
