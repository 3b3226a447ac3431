rule likelihood:
    input:
        receipt=f"{RUN}/receipt.json",
        manifest="data/datasets/{dataset}/manifest.json",
    output:
        f"{RUN}/likelihood.json",
        f"{RUN}/likelihood.npz",
    log:
        f"{LOGS}/likelihood.log",
    threads: SCALE.resources.threads
    resources:
        **JOB,
    params:
        code=code("likelihood"),
        settings=settings(SCALE.evaluation.model_dump(mode="json", exclude={"fidelity", "grid"})),
        only=ONLY and f"--images {at_most(SCALE.evaluation.images)} --report",
        run=subpath(input.receipt, parent=True),
        device=device,
    shell:
        "marscf evaluate likelihood {params.run} {params.only} {params.device} > {log} 2>&1"


rule sample:
    input:
        receipt=f"{RUN}/receipt.json",
    output:
        samples=f"{RUN}/samples.npy",
        seal=f"{RUN}/samples.seal.json",
    log:
        f"{LOGS}/sample.log",
    threads: SCALE.resources.threads
    resources:
        **JOB,
    params:
        code=code("sample"),
        images=at_most(SCALE.evaluation.grid),
        run=subpath(input.receipt, parent=True),
        device=device,
    shell:
        "marscf sample {params.run} -n {params.images} --out {output.samples} {params.device} > {log} 2>&1"


rule extractor:
    input:
        manifest="data/datasets/{dataset}/manifest.json",
    output:
        receipt="data/extractors/digits-net/{dataset}/receipt.json",
        weights="data/extractors/digits-net/{dataset}/weights.safetensors",
    log:
        "logs/extractors/{dataset}.log",
    threads: SCALE.resources.threads
    resources:
        **JOB,
    params:
        code=behind("extractor"),
        device=device,
    shell:
        "marscf evaluate extractor {wildcards.dataset} {params.device} > {log} 2>&1"


# Without Inception's weights the report is made without FID, and says so.
checkpoint inception:
    output:
        str(inception.RECORD),
    log:
        "logs/extractors/inception.log",
    priority: 1  # one may want to come by them before anything is measured
    localrule: True
    params:
        missing=without_inception,
    shell:
        "marscf evaluate inception > {log} 2>&1"


rule fidelity:
    input:
        extractor,
        receipt=f"{RUN}/receipt.json",
        manifest="data/datasets/{dataset}/manifest.json",
    output:
        f"{RUN}/fidelity.json",
    log:
        f"{LOGS}/fidelity.log",
    threads: SCALE.resources.threads
    resources:
        **JOB,
    params:
        code=code("fidelity"),
        settings=settings(FIDELITY),
        only=ONLY_REPORTED,
        run=subpath(input.receipt, parent=True),
        device=device,
    shell:
        "marscf evaluate fidelity {params.run} {params.only} {params.device} > {log} 2>&1"


# what real images reach against real images: the least that FID and KID can be here
rule floor:
    input:
        extractor,
        manifest="data/datasets/{dataset}/manifest.json",
    output:
        floor="data/runs/{scale}/{dataset}/floor.json",
    log:
        "logs/{scale}/{dataset}/floor.log",
    threads: SCALE.resources.threads
    resources:
        **JOB,
    params:
        code=behind("floor"),
        settings=settings(FIDELITY),
        only=ONLY_REPORTED,
        folder=subpath(output.floor, parent=True),
        device=device,
    shell:
        "marscf evaluate floor {params.folder} {params.only} {params.device} > {log} 2>&1"
