from pathlib import Path

import pytest
from interpolation_files import make_interpolation, seal_interpolation

from marscf.reporting.collect import collect, read_metrics
from marscf.reporting.findings import findings, plain
from marscf.reporting.path_findings import of_paths


def change(run, name, *replacements):
    path = Path(run) / name
    text = path.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    seal_interpolation(path.parent)


def found():
    (premise, better) = (
        (claim, verdict, plain(evidence)) for claim, verdict, evidence in of_paths("quick", ["marscf-affine"])
    )
    assert premise[0].startswith("The straight line") and better[0].startswith("Halfway")
    assert all("our reading" in claim for claim, _, _ in (premise, better))
    return premise[1:], better[1:]


def test_the_premise_fails_where_the_line_is_denser_than_its_ends(workdir):
    verdict, evidence = found()[0]
    assert verdict == "fails"
    assert "real ends -91.00 ± 0.58, straight line -81.00 ± 0.58, moved points -79.00 ± 0.58" in evidence
    assert "the line is above its own ends by 10.000, and denser than both of them at 9 of 9" in evidence


@pytest.mark.parametrize(
    ("ends", "verdict", "words"),
    [
        ((-75, -76, -81), "holds", "below its own ends by 3.7 ± 1.3"),  # the line: -80, -81, -82
        ((-80, -81, -84), "open", "above its own ends by 0.67 ± 0.67"),
    ],
)
def test_the_premise_is_judged_pair_by_pair(workdir, ends, verdict, words):
    for pair, value in enumerate(ends):
        places = [f",{pair},{point},{t}," for point, t in ((0, "0.0"), (4, "1.0"))]
        change(workdir[1], "interpolation.csv", *((f"{at}{-90 - pair},", f"{at}{value},") for at in places))
    found_verdict, evidence = found()[0]
    assert found_verdict == verdict and words in evidence


def test_the_score_halfway_is_judged_by_the_paired_difference(workdir):
    verdict, evidence = found()[1]
    # 7.0 against 5.0, ± 0.9 each, would be open
    assert verdict == "holds" and "difference 2.00 ± 0.50 (paired)" in evidence
    assert "λ = 0.5 was chosen on pairs of validation images" in evidence
    assert "distance to the nearer real end is 0.25, the straight line's 1" in evidence
    change(workdir[1], "interpolation_scores.csv", ("7.0,0.9,2.0,0.5", "5.5,0.9,0.5,0.5"))
    verdict, evidence = found()[1]
    assert verdict == "open"
    assert (
        "no gain from the method is seen here: the straight line is denser than real images are" in evidence
    )
    change(workdir[1], "interpolation_scores.csv", ("5.5,0.9,0.5,0.5", "2.0,0.9,-3.0,0.5"))
    assert found()[1][0] == "fails"


def test_it_is_said_where_the_gain_does_not_come_from_density(workdir):
    evidence = found()[1][1]
    assert (
        "score 7.00 over all t, the straight line 5.00, and points moved without the density term 7.50"
        in evidence
    )
    assert "not from density" in evidence
    change(
        workdir[1],
        "interpolation_scores.csv",
        (
            "val,ignored,0.5,,inception_score[digits-net],7.5",
            "val,ignored,0.5,,inception_score[digits-net],6.5",
        ),
    )
    assert "not from density" not in found()[1][1]


def test_it_is_said_where_no_lambda_was_better(workdir):
    make_interpolation(Path(), workdir[1], chosen=0.0, shown=0.2)
    assert "no λ was better than the straight line; the smallest, 0.2, is shown" in found()[1][1]


def test_findings_have_them_and_leave_out_what_was_not_made(workdir):
    def claims():
        return [f.claim for f in findings(read_metrics(collect("quick", workdir[1:2])), "quick")]

    assert sum("our reading" in claim for claim in claims()) == 2
    path = Path(workdir[1]) / "interpolation_scores.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")  # no extractor
    seal_interpolation(path.parent)
    assert sum("our reading" in claim for claim in claims()) == 1
    path.unlink()
    assert sum("our reading" in claim for claim in claims()) == 0
