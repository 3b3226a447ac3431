"""An interpolation study's files, with numbers that are easy to check."""

import numpy as np

from marscf import seals

SCORES = "split,density,lambda,t,metric,value,stderr,difference,difference_stderr,n,protocol"
POINTS = "split,density,lambda,pair,point,t,log_prob_latent,log_prob_image,line_distance,image_distance"
#: (density, λ): log p(z), log p(x), both distances and the score of inner points; log p(z) is of the first
#: pair, and of pair k, k nats lower
WAYS = {
    ("ignored", 0.0): (-80, -85, 0, 1.0, 5.0),
    ("typical", 0.2): (-79, -87, 0.1, 0.5, 6.0),
    ("typical", 0.5): (-78, -89, 0.2, 0.25, 7.0),
    ("unbounded", 0.5): (-60, -70, 0.9, 0.5, 4.0),
    ("ignored", 0.2): (-81, -86, 0.1, 0.4, 6.5),
    ("ignored", 0.5): (-82, -88, 0.2, 0.2, 7.5),
}
REAL_POINT = (-90, -95, 0, 0, 8.0)


def make_interpolation(root, run, pairs=3, points=5, chosen=0.5, shown=0.5):
    """Write a study in which moved points score higher, and the line is denser than its ends."""
    folder, random = root / run, np.random.default_rng(1)
    t = np.linspace(0, 1, points)
    images = random.integers(0, 17, (pairs, 2, points, 1, 8, 8), dtype=np.uint8)
    way = {"objective": "three-term", "density": "typical", "shown": shown, "chosen": chosen}
    np.savez_compressed(folder / "interpolation.npz", images=images, t=t, methods=("linear", "moved"), **way)
    rows, scores = [POINTS], [SCORES]
    for split, ways in (("val", list(WAYS)), ("test", [("ignored", 0.0), ("typical", shown)])):
        for density, value in ways:
            name, line = f"{split},{density},{value}", value == 0
            for point, at in enumerate(t):
                latent, image, *distances, score = WAYS[density, value] if 0 < at < 1 else REAL_POINT
                for pair in range(pairs):
                    numbers = (latent - pair, image, *distances)
                    rows.append(f"{name},{pair},{point},{at},{','.join(map(str, numbers))}")
                difference = "," if line else f"{score - (5.0 if 0 < at < 1 else 8.0)},0.5"
                scores.append(f"{name},{at},inception_score[digits-net],{score},0.9,{difference},64,64 pairs")
            score = WAYS[density, value][-1]
            difference = "," if line else f"{score - 5.0},0.25"
            scores.append(f"{name},,inception_score[digits-net],{score},0.9,{difference},64,64 pairs")
    (folder / "interpolation.csv").write_text("\n".join(rows) + "\n")
    (folder / "interpolation_scores.csv").write_text("\n".join(scores) + "\n")
    seal_interpolation(folder)


def seal_interpolation(folder):
    seals.seal(folder / seals.INTERPOLATION, sorted(folder.glob("interpolation*.[nc]*")))
