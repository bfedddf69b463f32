"""Tables of generated images against the data: how like the held-out ones, and whether any is a copy."""

from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Table, count, header, number
from latentpath.report.pictures import words

FIGURES = {"fid": "FID", "kid": "KID", "precision": "precision", "recall": "recall"}


def fidelity_table(run: RunArtefacts) -> Table | None:
    """Rows of evaluate/tables/fidelity.csv; None where the data were not at hand."""
    rows = run.tables.get("fidelity")
    if rows is None:
        return None
    head = ["class", "images", *FIGURES.values(), "Vendi", "Vendi, real", "generated", "held-out"]
    table = Table("Likeness to the held-out images, by what the judge sees", head, name="fidelity")
    few = "fewer than 8 images of a kind"
    for cls, of_class in rows.groupby("class", sort=False):
        group = []
        for k, row in enumerate(of_class.to_dict("records")):
            first = [header(words(str(cls)), len(of_class))] if k == 0 else []
            figures = [number(row[key], few) for key in (*FIGURES, "vendi", "vendi_real")]
            group.append(
                [*first, header(words(row["images"])), *figures, count(row["generated"]), count(row["real"])]
            )
        table.groups.append(group)
    return table


def copies_table(run: RunArtefacts) -> Table | None:
    """Of evaluate/tables/copies.csv a row a class; None where the data were not at hand. Not which training
    image: it is a patient's."""
    rows = run.tables.get("copies")
    if rows is None:
        return None
    table = Table(
        "Distance to the nearest training image, over the mean of the 50 nearest (latents; 0: a copy)",
        ["class", "images", "lowest", "median", "flagged, below 0.5"],
        name="copies",
    )
    table.groups.append(
        [
            [
                header(words(str(cls))),
                count(len(of_class)),
                number(of_class["score"].min()),
                number(of_class["score"].median()),
                count(int((of_class["flagged"].astype(str) == "True").sum())),
            ]
            for cls, of_class in rows.groupby("class", sort=False)
        ]
    )
    return table
