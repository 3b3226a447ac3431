rule dataset:
    output:
        manifest="data/datasets/{dataset}/manifest.json",
        arrays=expand("data/datasets/{{dataset}}/{split}.npy", split=["train", "val", "test"]),
    log:
        "logs/data/{dataset}.log",
    params:
        identity=dataset_digest,
    shell:
        "marscf data {wildcards.dataset} > {log} 2>&1"
