"""The baseline plugins, found through the entry-point group like anyone's."""

_HERE = "mpqbench.baselines"

_METHODS = (
    "rtn", "mse-clip", "smoothquant", "awq", "gptq", "quarot", "q-dit", "ptq4dit", "vidit-q",
    "adaround", "brecq", "svdquant", "hawq", "autoquantize", "sqnr", "mixdq", "clado",
    "q-dit-search",
)  # fmt: skip

PLUGINS = {
    "transform": {
        "none": f"{_HERE}.transforms.none:NoTransform",
        "smooth": f"{_HERE}.transforms.smooth:Smooth",
        "awq": f"{_HERE}.transforms.awq:AWQ",
        "hadamard": f"{_HERE}.transforms.hadamard:Hadamard",
        "balance": f"{_HERE}.transforms.balance:Balance",
        "static-dynamic": f"{_HERE}.transforms.static_dynamic:StaticDynamic",
    },
    "rounding": {
        "nearest": f"{_HERE}.roundings.nearest:Nearest",
        "percentile": f"{_HERE}.roundings.percentile:Percentile",
        "mse-clip": f"{_HERE}.roundings.mse_clip:MSEClip",
        "gptq": f"{_HERE}.roundings.gptq:GPTQ",
        "adaround": f"{_HERE}.roundings.adaround:AdaRound",
    },
    "branch": {
        "none": f"{_HERE}.branches.none:NoBranch",
        "low-rank": f"{_HERE}.branches.low_rank:LowRank",
        "sparse": f"{_HERE}.branches.sparse:Sparse",
        "h-svd": f"{_HERE}.branches.h_svd:MixedSVD",
    },
    "searcher": {
        "uniform": f"{_HERE}.searchers.uniform:Uniform",
        "random": f"{_HERE}.searchers.random_search:RandomSearch",
        "greedy": f"{_HERE}.searchers.greedy:Greedy",
        "ilp": f"{_HERE}.searchers.ilp:ILP",
        "dp": f"{_HERE}.searchers.dp:DynamicProgramming",
        "closed-form": f"{_HERE}.searchers.closed_form:ClosedForm",
        "ilp+verify": f"{_HERE}.searchers.ilp_verify:ILPVerify",
        "clado": f"{_HERE}.searchers.clado:CLADO",
        "evolutionary": f"{_HERE}.searchers.evolutionary:Evolutionary",
        "tpe": f"{_HERE}.searchers.tpe:TPE",
        "given": f"{_HERE}.searchers.given:Given",
    },
    "objective": {
        "output-mse": f"{_HERE}.objectives.output_mse:OutputMSE",
        "trajectory-frechet": f"{_HERE}.objectives.trajectory_frechet:TrajectoryFrechet",
        "span-mse": f"{_HERE}.objectives.span_mse:SpanMSE",
        "trajectory-mse": f"{_HERE}.objectives.trajectory_mse:TrajectoryMSE",
        "layer-mse": f"{_HERE}.objectives.layer_mse:LayerError",
        "fisher": f"{_HERE}.objectives.fisher:Fisher",
        "hessian": f"{_HERE}.objectives.hessian:HessianTrace",
        "decoupled": f"{_HERE}.objectives.decoupled:Decoupled",
    },
    "tuner": {
        "none": f"{_HERE}.tuners.none:NoTuning",
        "peft": f"{_HERE}.tuners.peft:PEFT",
        "qat": f"{_HERE}.tuners.qat:QAT",
    },
    "correction": {
        "none": f"{_HERE}.corrections.none:NoCorrection",
        "unbiased": f"{_HERE}.corrections.unbiased:Unbiased",
    },
    "environment": {"clean": f"{_HERE}.environments.clean:Clean"},
    "method": dict.fromkeys(_METHODS, f"{_HERE}:recipes.yaml")
    | {"full-precision": "mpqbench.core.recipe:FULL_PRECISION"},
}
