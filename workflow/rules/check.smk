# Fails where a tracked number got worse than the reference or is missing; asked for by name, never part of `all`.
# Without a log: the table is what one asks for. With the measurements by name: git has the table of them, and where
# they are not there, as in a fresh clone, that table says nothing of what stands here.
rule check:
    input:
        measurements,
        f"reports/{SCALE.name}/metrics.csv",
    localrule: True
    params:
        scale=SCALE.name,
        only=[
            f"--{kind} {','.join(chosen)}"
            for kind, given, chosen in (
                ("systems", SELECTION.systems, SYSTEMS),
                ("datasets", SELECTION.datasets, DATASETS),
            )
            if given != "all"
        ],
    shell:
        "marscf check --scale {params.scale} {params.only}"
