"""Tables that compare generated images with the data: likeness to held-out images, possible copies."""

from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, count, header, number
from latentpath.report.pictures import words

FIGURES = {"fid": "FID", "kid": "KID", "precision": "precision", "recall": "recall", "vendi": "Vendi"}
NETWORKS = {"judge": "the judge", "inception": "Inception", "xrayvision": "TorchXRayVision"}
SPACES = {"latent": "latents", "judge": "the judge’s features"}


def fidelity_table(run: RunArtefacts) -> Table | None:
    """Make the table of evaluate/tables/fidelity.csv, the judge first; None if it was not computed."""
    rows = run.tables.get("fidelity")
    if rows is None:
        return None
    others = set(rows["features"]) != {"judge"}
    head = ["class", "images", "set", *FIGURES.values(), "images a side"]
    seen = "a network sees in them" if others else "the judge sees"
    table = Table(
        f"Likeness to held-out images that show the same, by what {seen}, and that of other held-out ones",
        ["network"] * others + head,
        name="fidelity",
    )
    rows = rows.sort_values("features", key=lambda names: names != "judge", kind="stable")
    for (network, cls), part in rows.groupby(["features", "class"], sort=False):
        group: list[list[Cell]] = []
        for row in part.to_dict("records"):
            labels = [NETWORKS.get(str(network), str(network))] * others + [words(str(cls))]
            first = [] if group else [header(label, 2 * len(part)) for label in labels]
            first.append(header(words(row["images"]), 2))
            for shown, end in (("generated", ""), ("real", "_real")):
                figures = [number(row[key + end], str(row["reason"])) for key in FIGURES]
                group.append([*first, header(shown), *figures, count(row["each"])])
                first = []
        table.groups.append(group)
    return table


def copies_table(run: RunArtefacts) -> Table | None:
    """Make the table of evaluate/tables/copies_by_class.csv; None if the data were not available.

    It does not say which training images are the nearest: they are patients'.
    """
    rows = run.tables.get("copies_by_class")
    if rows is None:
        return None
    table = Table(
        "Distance to the nearest training image, over the mean of the 50 nearest (0: a copy); seeds named as "
        "copies at a false discovery rate of 0.1, as held-out images rank",
        ["class", "distance of", "images", "lowest", "median", "seeds", "lowest q", "named"],
        name="copies",
    )
    for cls, of_class in rows.groupby("class", sort=False):
        group: list[list[Cell]] = []
        for row in of_class.to_dict("records"):
            first = [] if group else [header(words(str(cls)), len(of_class))]
            shown = (number(row[key]) for key in ("lowest", "median"))
            name, q = header(SPACES[row["space"]]), number(row["q"], "no held-out images")
            seeds = [count(row["seeds"]), q, count(row["flagged"])]
            group.append([*first, name, count(row["images"]), *shown, *seeds])
        table.groups.append(group)
    return table
