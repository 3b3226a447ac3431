# The order of the benchmark. Every rule is one call of `marscf` or papermill; what is run stands in `config/`.
#
#   snakemake --cores all                                         the whole report at scale quick
#   snakemake --cores all --config scale=laptop datasets=mnist    another scale, narrowed
#   snakemake --cores all check                                   fail where a number got worse
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: f"workflow/rules/{'published' if SCALE.published else 'train'}.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/studies.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/check.smk"


rule all:
    default_target: True
    input:
        f"reports/{SCALE.name}/index.html",
        # by name: what only the page asks for would not be missed once the page is there
        product_files,


rule models:
    input:
        lambda wildcards: [f"{run}/receipt.json" for run in runs()],
