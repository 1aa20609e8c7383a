"""Random networks that judge images, saved as users have them: an AlexNet and a tiny CLIP."""

import json
from pathlib import Path

import torch

SIDE, TOKENS = 24, 12  # pixels and tokens that the CLIP takes


def save_alexnet(path: Path) -> dict[str, torch.Tensor]:
    """Save random convolutions of AlexNet under torchvision's names; return them."""
    from torchvision.models import alexnet

    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = alexnet(weights=None).features
    state = {f"features.{name}": values for name, values in features.state_dict().items()}
    state["classifier.1.weight"] = torch.ones(2, 2)  # of the layers that LPIPS does not use
    torch.save(state, path)
    return state


def save_clip(folder: Path) -> Path:
    """Save a CLIP of two layers with a tokenizer of single letters."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    entries = [*letters, *(f"{letter}</w>" for letter in letters)]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    words, vocabulary, merges = len(entries), folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({entry: i for i, entry in enumerate(entries)}))
    merges.write_text("#version: 0.2\n")
    sizes = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }  # fmt: skip
    text = {
        "vocab_size": words, "max_position_embeddings": TOKENS, "bos_token_id": words - 2,
        "eos_token_id": words - 1, "pad_token_id": words - 1,
    }  # fmt: skip
    vision = {"image_size": SIDE, "patch_size": 8}
    config = CLIPConfig(
        text_config=sizes | text, vision_config=sizes | vision, projection_dim=8
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = CLIPModel(config)
        for parameter in model.parameters():  # as they are drawn, all images look alike to it
            if parameter.ndim > 1:
                parameter.data.normal_(std=0.5)
    model.save_pretrained(folder)
    images = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    tokenizer = CLIPTokenizer(str(vocabulary), str(merges), model_max_length=TOKENS)
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder
