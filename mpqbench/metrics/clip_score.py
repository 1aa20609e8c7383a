"""CLIP score: how well an image fits its prompt, by a CLIP of the user's (arXiv 2104.08718)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import BenchError
from ..core.files import digest_of_file
from ..core.packages import check_package
from ..core.settings import digest_of
from .features import BATCH, exact_float32, usable_device, weights_digest


class ClipScorer:
    """A CLIP in a folder as ``transformers`` saves it, with its tokenizer and image processor.

    ``digest`` is that of the weights and of the JSON and text files beside them, which decide how
    prompts are cut into tokens and how images are resized. Nothing is downloaded. Raises BenchError
    where the package ``transformers`` is missing and where ``folder`` does not hold a whole CLIP.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        check_package("transformers", "--clip")
        self.device = usable_device(device)
        model, self.processor = _load(folder)
        beside = sorted(p for p in folder.iterdir() if p.suffix in (".json", ".txt"))
        files = {path.name: digest_of_file(path) for path in beside}
        self.digest = digest_of([weights_digest(model), files])
        self.tokens = int(model.config.text_config.max_position_embeddings)
        self.model = model.eval().to(self.device)

    def scores(
        self,
        batches: Iterable[tuple[np.ndarray, np.ndarray]],
        prompts: Sequence[str],
        advance: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Return max(100 cos(image, prompt), 0) of each image, float64 (N,).

        ``batches`` are uint8 images (B, H, W, C) with the indices (B,) of their prompts. The prompt
        is read as it is, without the ``A photo depicts`` of the paper, whose factor is 2.5 (100 and
        no prefix: as torchmetrics, and most papers on diffusion models). Grey images are repeated
        over three channels. In float32 without TF32. ``advance`` is called with the number of
        images after each batch.
        """
        found = []
        with torch.inference_mode(), exact_float32():
            texts = self._texts(prompts)
            for images, index in batches:
                for at in range(0, len(images), BATCH):
                    part = slice(at, at + BATCH)
                    cosines = (self._images(images[part]) * texts[index[part]]).sum(dim=1)
                    found.append(np.maximum(100.0 * cosines.double().cpu().numpy(), 0.0))
                    if advance is not None:
                        advance(len(cosines))
        return np.concatenate(found)

    def notes(self, prompts: Sequence[str]) -> list[str]:
        """Return a sentence where prompts are longer than the text encoder takes."""
        tokens = self.processor.tokenizer(list(prompts), verbose=False)["input_ids"]
        cut = sum(len(each) > self.tokens for each in tokens)
        if not cut:
            return []
        return [
            f"the CLIP score reads only the first {self.tokens} tokens of {cut} of {len(prompts)} "
            "prompts"
        ]

    def _texts(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return embeddings (m, d) of norm 1."""
        options = {"padding": "max_length", "truncation": True, "max_length": self.tokens}
        found = []
        for at in range(0, len(prompts), BATCH):
            texts = list(prompts[at : at + BATCH])
            tokens = self.processor.tokenizer(texts, return_tensors="pt", **options).to(self.device)
            pooled = self.model.text_model(tokens.input_ids, tokens.attention_mask).pooler_output
            found.append(self.model.text_projection(pooled))
        return torch.nn.functional.normalize(torch.cat(found))

    def _images(self, images: np.ndarray) -> torch.Tensor:
        """Return embeddings (B, d) of norm 1; black images fill the batch, as for all features."""
        filled = np.zeros((BATCH, *images.shape[1:3], 3), dtype=np.uint8)
        filled[: len(images)] = images
        pixels = self.processor.image_processor(
            list(filled), return_tensors="pt", input_data_format="channels_last"
        )["pixel_values"]
        pooled = self.model.vision_model(pixel_values=pixels.to(self.device)).pooler_output
        embedded = self.model.visual_projection(pooled)[: len(images)]
        return torch.nn.functional.normalize(embedded)


def _load(folder: Path) -> tuple[Any, Any]:
    """Return the model in float32 and its processor."""
    from transformers import CLIPModel, CLIPProcessor

    if not (folder / "config.json").is_file():
        raise BenchError(
            f"--clip {folder} is no folder of a CLIP: it needs config.json, weights, tokenizer and "
            "image processor, as transformers saves them"
        )
    try:
        with _quiet():
            model, loading = CLIPModel.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
        if loading["missing_keys"]:  # which transformers draws at random
            raise ValueError(f"the weights lack {min(loading['missing_keys'])}")
        for name, values in model.named_parameters():
            if not values.isfinite().all():
                raise ValueError(f"{name} holds NaN or infinite numbers")
        return model, CLIPProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers, safetensors and torch have no error in common
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BenchError(f"--clip {folder} cannot be loaded as a CLIP: {reason}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing a bar and a report of missing weights, which we refuse."""
    from transformers.utils import logging

    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()
