# A limit on GPUs (`--resources gpu=1` of the default profile) is one machine's; a cluster keeps its own count.
resource_scopes:
    gpu="local",


# The receipt is the only output: the trainer owns its folder, goes on with what it finds there, and rewrites the
# receipt of a finished run in seconds, so that a rerun costs nothing and an interruption loses nothing.
rule train:
    input:
        manifest="data/datasets/{dataset}/manifest.json",
    output:
        receipt=f"{RUN}/receipt.json",
    log:
        f"{LOGS}/train.log",
    benchmark:
        f"{LOGS}/train.tsv"
    threads: SCALE.resources.threads
    resources:
        **JOB,
    params:
        config=run_hash,
        run=subpath(output.receipt, parent=True),
        launcher=launcher,
        device=device,
    shell:
        "{params.launcher} train {params.run} {params.device} > {log} 2>&1"
