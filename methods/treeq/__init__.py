"""TreeQ (arXiv 2512.06353), an independent implementation with every unknown as a parameter."""

PLUGINS = {
    "searcher": {"tss": "mpqbench.methods.treeq.tss:TSS"},
    "branch": {"monarch": "mpqbench.methods.treeq.gmb:Monarch"},
    "environment": {"eng": "mpqbench.methods.treeq.eng:EnvironmentalNoise"},
    "method": {
        "treeq-search": "mpqbench.methods.treeq:recipes.yaml",
        "treeq": "mpqbench.methods.treeq:recipes.yaml",
        "treeq-peft": "mpqbench.methods.treeq:recipes.yaml",
    },
}
