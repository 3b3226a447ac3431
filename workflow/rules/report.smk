rule collect:
    input:
        measurements,
        timings,
    output:
        table="reports/{scale}/metrics.csv",
        values="reports/{scale}/metrics.json",
    log:
        "logs/{scale}/collect.log",
    localrule: True
    params:
        code=behind("collect"),
        runs=lambda wildcards: list(runs()),
    shell:
        "marscf report collect --scale {wildcards.scale} --runs {params.runs} > {log} 2>&1"


# A table or figure: the one notebook, executed with its name. The executed notebook is kept with the report, even
# where it fails, to be opened and read.
rule figure:
    input:
        lambda wildcards: products()[wildcards.name].files(plan()),
        notebook=NOTEBOOK,
    output:
        png=report(
            "reports/{scale}/figures/{name}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{name}"},
        ),
        svg="reports/{scale}/figures/{name}.svg",
    log:
        notebook="reports/{scale}/notebooks/{name}.ipynb",
        text="logs/{scale}/notebooks/{name}.log",
    localrule: True
    params:
        code=lambda wildcards: behind("figures", products()[wildcards.name].draw),
        looks=looks,
        runs=lambda wildcards: products()[wildcards.name].about(plan()),
        out=subpath(output.png, strip_suffix=".png"),
    shell:
        "papermill {input.notebook} {log.notebook} --no-progress-bar"
        " -r name {wildcards.name} -r scale {wildcards.scale} -r out {params.out} -r runs '{params.runs}' > {log.text} 2>&1"


use rule figure as table with:
    output:
        csv="reports/{scale}/tables/{name}.csv",
        html=report(
            "reports/{scale}/tables/{name}.html",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{name}"},
        ),
    params:
        code=lambda wildcards: behind("figures", products()[wildcards.name].draw),
        looks=looks,
        runs=lambda wildcards: products()[wildcards.name].about(plan()),
        out=subpath(output.csv, strip_suffix=".csv"),


rule index:
    input:
        product_files,
        f"reports/{SCALE.name}/metrics.csv",
        timings,
        likelihoods,
        record_of_inception,
    output:
        page=report(
            "reports/{scale}/index.html",
            caption="../report/page.rst",
            category="The page to read",
            labels={"page": "all of it"},
        ),
        summary="reports/{scale}/summary.txt",
    log:
        "logs/{scale}/index.log",
    localrule: True
    params:
        code=behind("page"),
        looks=looks,
    shell:
        "marscf report index --scale {wildcards.scale} > {log} 2>&1"
