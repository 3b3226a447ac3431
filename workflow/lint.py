"""Run `snakemake --lint` and fail on every complaint that is not answered here."""

import re
import subprocess
import sys

ANSWERS = {
    "Specify a conda environment or container for each rule.": (
        "all rules share one environment, pinned with hashes in requirements.lock, which runs Snakemake too; "
        "one per rule would pin the same packages again, a container would bar machines without one"
    ),
    "No log directive defined": "only `check` has none: its table is the answer and belongs on the terminal",
}
ONLY = {"No log directive defined": ["check"]}  # the rules that an answer is for, where it is not for all


def main() -> int:
    """Print the complaints that are not answered; return whether there are any."""
    result = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], capture_output=True, text=True)
    text = result.stdout + result.stderr
    unanswered, place, found = [], "", 0
    for line in text.splitlines():
        if heading := re.match(r"Lints for (?:rule (\w+)|snakefile .*?([^/]+):$)", line):
            place = heading[1] or heading[2]
        elif complaint := re.match(r"    \* (.*):$", line):
            found += 1
            title = complaint[1]
            if title not in ANSWERS or place not in ONLY.get(title, [place]):
                unanswered.append(f"{place}: {title}")
    if unanswered or (result.returncode and not found):
        print(text, *unanswered, sep="\n", file=sys.stderr)
        return 1
    print(f"snakemake --lint: {found} complaints, each answered in workflow/lint.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
