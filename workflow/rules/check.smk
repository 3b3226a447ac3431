# Fails where a tracked number got worse than the reference or is missing; asked for by name, never part of `all`.
rule check:
    input:
        f"reports/{SCALE.name}/metrics.csv",
    log:
        f"logs/{SCALE.name}/check.log",
    localrule: True
    params:
        scale=SCALE.name,
    shell:
        "marscf check --scale {params.scale} 2>&1 | tee {log}"
