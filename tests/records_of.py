"""Synthetic records: no model, no metric, only numbers."""

from mpqbench.records.schema import JobRecord

BITS = {"FP": 256, "W8A8": 64, "W4A8": 32, "W8A4": 32, "W4A4": 16, "W3A3": 9, "W2A3": 6, "W2A2": 4}
PROVENANCE = {
    "mpqbench": "0.1.0", "python": "3.11.0", "platform": "test",
    "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:01:00+00:00",
}  # fmt: skip


def record_of(
    method="rtn", budget="W4A4", fd=None, *, seed=0, wobble=(0.3, -0.1, -0.2), status="done",
    reason="", model="fashion-dit", metric="m1", extractor="fashion", satisfied=True, macs=10**8,
    **fields,
):  # fmt: skip
    """A record whose replicates are ``fd + wobble``; ``fields`` replace its own."""
    done, scores = status == "done", {}
    if done and fd is not None:
        scores = {
            "fd": {"value": fd, "ci": 0.5, "replicates": [fd + w for w in wobble]},
            "is": {"value": 9.5 - fd / 100, "ci": 0.1},
            "kid": {"value": 0.001 * fd, "ci": 0.0005},
            "precision": {"value": 0.75},
            **({} if method == "full-precision" else {"psnr": {"value": 40.0 - fd}}),
        }
    bitops = macs * BITS[budget]
    costs = {
        "macs": macs, "parameters": 2_000_000, "bitops": bitops, "bitops_linear": bitops,
        "bitops_per_image": bitops * 40, "bytes": 4_000_000, "effective_bits": 16.0,
        "satisfied": satisfied, "cost_rule": "integer",
    }  # fmt: skip
    own = {
        "job": f"{model.replace('/', '-')}__{method}__{budget}__s{seed}__{metric}",
        "fingerprint": f"f-{method}", "metric_fingerprint": metric, "status": status,
        "reason": reason, "model": model, "method": method, "budget": budget, "seed": seed,
        "recipe": {"name": method},
        "protocol": {"name": "quick", "sampler": "ddim", "steps": 20, "guidance": 1.5,
                     "reference": "embedded"},
        "extractor": extractor if done else None, "n_images": 1000 if done else 0,
        "scores": scores, "costs": costs if done else None,
        "seconds": {"sample": 1.25, "score": 0.5}, "provenance": PROVENANCE,
    }  # fmt: skip
    return JobRecord.model_validate(own | fields)
