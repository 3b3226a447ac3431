# What the files hold is known when they are here: Snakemake then goes on with the runs that they become.
checkpoint published:
    output:
        "data/checkpoints/index.json",
    log:
        "logs/checkpoints.log",
    localrule: True
    params:
        declared=settings([entry.model_dump(mode="json") for entry in CONFIG.checkpoints.values()]),
        scale=SCALE.name,
        missing=missing_checkpoints,
    shell:
        "marscf checkpoints --scale {params.scale} > {log} 2>&1"


# It also says how long the run's measurements will take, on the terminal as well: one may want fewer images.
rule import_run:
    input:
        lambda wildcards: ancient(checkpoints.published.get().output[0]),
        ancient("data/datasets/{dataset}/manifest.json"),
    output:
        receipt=f"{RUN}/receipt.json",
    log:
        f"{LOGS}/import.log",
    resources:
        **JOB,
    params:
        entry=published_entry,
        run=subpath(output.receipt, parent=True),
        images=images,
        device=device,
    shell:
        "marscf checkpoints --run {params.run} {params.images} {params.device} 2>&1 | tee {log}"


rule as_published:
    input:
        receipt=f"{RUN}/receipt.json",
        manifest="data/datasets/{dataset}/manifest.json",
        scores=f"{RUN}/likelihood.npz",
    output:
        f"{RUN}/as_published.json",
    log:
        f"{LOGS}/as_published.log",
    threads: SCALE.resources.threads
    resources:
        **JOB,
    params:
        code=code("as-published"),
        only=ONLY_REPORTED,
        run=subpath(input.receipt, parent=True),
        device=device,
    shell:
        "marscf evaluate as-published {params.run} {params.only} {params.device} > {log} 2>&1"
