rule dataset:
    output:
        manifest="data/datasets/{dataset}/manifest.json",
        arrays=expand("data/datasets/{{dataset}}/{split}.npy", split=["train", "val", "test"]),
    log:
        "logs/data/{dataset}.log",
    params:
        identity=dataset_digest,
        source=source,
    shell:
        "marscf data {wildcards.dataset} {params.source} > {log} 2>&1"
