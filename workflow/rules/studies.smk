# One job that takes all cores, so that nothing else runs while it times (on a cluster, see its profile).
rule sampling_speed:
    input:
        timed_receipts,
    output:
        speeds="reports/{scale}/sampling_speed.csv",
        seal="reports/{scale}/sampling_speed.seal.json",
    log:
        "logs/{scale}/sampling_speed.log",
    threads: workflow.cores or SCALE.resources.threads
    resources:
        **JOB,
    params:
        code=lambda wildcards: behind(
            "sampling-speed", *(CONFIG.systems[name].model for name in plan().timed())
        ),
        settings=settings(SCALE.studies.sampling_speed),
        repeats=at_most(SCALE.studies.sampling_speed.repeats),
        architectures=architectures,
        systems=lambda wildcards: ",".join(plan().timed()),
        device=device,
    shell:
        "marscf study sampling-speed --scale {wildcards.scale} --systems {params.systems} --out {output.speeds}"
        " --repeats {params.repeats} {params.device} > {log} 2>&1"


rule interpolation:
    input:
        extractor,
        record_of_inception,
        receipt=f"{RUN}/receipt.json",
        manifest="data/datasets/{dataset}/manifest.json",
    output:
        images=f"{RUN}/interpolation.npz",
        numbers=f"{RUN}/interpolation.csv",
        scores=f"{RUN}/interpolation_scores.csv",
        seal=f"{RUN}/interpolation.seal.json",
    log:
        f"{LOGS}/interpolation.log",
    threads: SCALE.resources.threads
    resources:
        **JOB,
    params:
        code=code("interpolate"),
        settings=lambda wildcards: settings(plan().interpolated()[RUN.format(**wildcards)]),
        scores=unscored,
        only=ONLY_REPORTED,
        run=subpath(input.receipt, parent=True),
        device=device,
    shell:
        "marscf study interpolate {params.run} {params.scores} {params.only} {params.device} > {log} 2>&1"


rule latents:
    input:
        receipt=f"{RUN}/receipt.json",
        manifest="data/datasets/{dataset}/manifest.json",
    output:
        correlations=f"{RUN}/latent_correlation.npz",
        seal=f"{RUN}/latent_correlation.seal.json",
    log:
        f"{LOGS}/latents.log",
    threads: SCALE.resources.threads
    resources:
        **JOB,
    params:
        code=code("latents"),
        only=ONLY_REPORTED,
        run=subpath(input.receipt, parent=True),
        device=device,
    shell:
        "marscf study latents {params.run} {params.only} {params.device} > {log} 2>&1"
