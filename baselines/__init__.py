"""The baseline plugins, found through the entry-point group like anyone's."""

_HERE = "mpqbench.baselines"

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
    },
    "objective": {
        "output-mse": f"{_HERE}.objectives.output_mse:OutputMSE",
        "layer-mse": f"{_HERE}.objectives.layer_mse:LayerError",
        "fisher": f"{_HERE}.objectives.fisher:Fisher",
        "hessian": f"{_HERE}.objectives.hessian:HessianTrace",
    },
    "environment": {"clean": f"{_HERE}.environments.clean:Clean"},
    "method": {
        "full-precision": "mpqbench.recipe:FULL_PRECISION",
        "rtn": f"{_HERE}.recipes:RTN",
        "mse-clip": f"{_HERE}.recipes:MSE_CLIP",
        "smoothquant": f"{_HERE}.recipes:SMOOTHQUANT",
        "awq": f"{_HERE}.recipes:AWQ",
        "gptq": f"{_HERE}.recipes:GPTQ",
        "quarot": f"{_HERE}.recipes:QUAROT",
        "q-dit": f"{_HERE}.recipes:Q_DIT",
        "ptq4dit": f"{_HERE}.recipes:PTQ4DIT",
        "vidit-q": f"{_HERE}.recipes:VIDIT_Q",
        "adaround": f"{_HERE}.recipes:ADAROUND",
        "brecq": f"{_HERE}.recipes:BRECQ",
    },
}
