import shutil

import numpy as np
import pytest
from omegaconf import OmegaConf

from latentpath.config.schema import DatasetConfig
from latentpath.data.load import load_dataset
from latentpath.diffusion.cached_latents import captioned
from latentpath.errors import UserError
from latentpath.traversal.originals import choose_originals

TRUTH = """image,MEL,NV,BCC,VASC,UNK
ISIC_0,1.0,0.0,0.0,0.0,0.0
ISIC_1_downsampled,0.0,1.0,0.0,0.0,0.0
ISIC_2,0.0,1.0,0.0,0.0,0.0
ISIC_3,0.0,0.0,1.0,0.0,0.0
ISIC_4,1.0,0.0,0.0,0.0,0.0
ISIC_5,0.0,1.0,0.0,0.0,0.0
"""
METADATA = """image,age_approx,anatom_site_general,lesion_id,sex
ISIC_0,55,anterior torso,,female
ISIC_1_downsampled,,,L1,
ISIC_2,30,,L1,male
ISIC_5,30,,L5,male
"""
INFERRED = """,image,dark_corner,hair,gel_bubble,vasc,label,label_string
4,ISIC_0,0.9,0.95,0.1,0.05,1,malignant
5,ISIC_1,0.9,0.6,0.59,0.05,0,malignant
6,ISIC_2,0.9,,0.7,0.05,0,malignant
7,ISIC_5,0.9,0.1,0.1,0.05,0,malignant
"""
MANUAL = """;image;dark_corner;hair;gel_bubble;label;label_string
0;ISIC_0.png;0;1;0;1;malignant
1;ISIC_2.png;0;0;1;0;benign
"""
IMAGES = (
    "ISIC_0.jpg",
    "ISIC_1_downsampled.jpg",
    "ISIC_2.JPG",
    "ISIC_3.jpg",
    "ISIC_4.jpg",
    "._ISIC_5.jpg",
    "ISIC_5.txt",
)


@pytest.fixture
def root(tmp_path, draw):
    draw(tmp_path / "ISIC_2019_Training_Input", *IMAGES)
    write(tmp_path, truth=TRUTH, metadata=METADATA, inferred=INFERRED, manual=MANUAL)
    return tmp_path


def write(root, **texts):
    names = {
        "truth": "ISIC_2019_Training_GroundTruth.csv",
        "metadata": "ISIC_2019_Training_Metadata.csv",
        "inferred": "isic_inferred_wocarcinoma.csv",
        "manual": "isic_bias.csv",
    }
    for key, text in texts.items():
        (root / names[key]).write_text(text)


def config(root, /, **overrides):
    base = {
        "layout": "isic2019",
        "root": str(root),
        "classes": ["MEL", "NV"],
        "attributes": ["hair", "gel_bubble"],
        "captions": {
            "with_attributes": "{cls} showing {attributes}",
            "without_attributes": "{cls}",
        },
        "on_error": "skip",
        "split_salt": "s",
    }
    return OmegaConf.merge(OmegaConf.structured(DatasetConfig), base, overrides)


def counts(table):
    found = {}
    for problem in table.problems:
        found[problem.kind] = found.get(problem.kind, 0) + problem.count
    return found


def test_inferred_artefacts_are_known_where_the_table_is_sure_and_ids_meet_across_tables(root):
    rows = load_dataset(config(root)).rows.set_index("image_id")
    assert rows["cls"].to_dict() == {"ISIC_0": "MEL", "ISIC_1": "NV", "ISIC_2": "NV"}
    np.testing.assert_array_equal(rows["hair"], [1, np.nan, np.nan])  # 0.95, 0.6, blank
    np.testing.assert_array_equal(rows["gel_bubble"], [0, np.nan, np.nan])  # 0.1, 0.59, 0.7
    rows = load_dataset(config(root, isic={"present": 0.6, "absent": 0.59})).rows.set_index("image_id")
    np.testing.assert_array_equal(rows["hair"], [1, 1, np.nan])
    np.testing.assert_array_equal(rows["gel_bubble"], [0, 0, 1])
    assert rows.loc["ISIC_1", "path"] == str(root / "ISIC_2019_Training_Input" / "ISIC_1_downsampled.jpg")


def test_what_the_inferred_table_doubts_is_neither_captioned_as_absent_nor_chosen_as_clean(root):
    """A hair of p = 0.6 may well be there: no caption may deny it, and no edit may start from the image."""
    table = load_dataset(config(root, attributes=["hair"], val_fraction=0.0, test_fraction=0.0))
    assert captioned(table)["image_id"].tolist() == ["ISIC_0"]
    with pytest.raises(UserError, match="0 patients or lesions of MEL in the train split"):
        choose_originals(table, split="train", seeds=[0])


def test_the_group_is_the_lesion_or_the_image_where_none_is_given(root):
    rows = load_dataset(config(root)).rows.set_index("image_id")
    assert rows["group"].to_dict() == {"ISIC_0": "ISIC_0", "ISIC_1": "L1", "ISIC_2": "L1"}
    assert rows.loc["ISIC_1", "split"] == rows.loc["ISIC_2", "split"]


def test_what_is_left_out_is_counted_by_kind(root):
    table = load_dataset(config(root))
    assert counts(table) == {"other class": 1, "not in isic_inferred_wocarcinoma.csv": 1, "missing image": 1}
    assert [p.kind for p in table.problems if p.fault] == ["missing image"]
    with pytest.raises(UserError, match=r"missing image: 1 in .*\n    line 7: no image ISIC_5 in"):
        load_dataset(config(root, on_error="fail"))


def test_the_manual_table_is_semicolons_and_png_names(root):
    table = load_dataset(config(root, isic={"artefacts": "manual"}))
    assert table.rows["image_id"].tolist() == ["ISIC_0", "ISIC_2"]
    assert table.rows[["hair", "gel_bubble"]].to_numpy().tolist() == [[1, 0], [0, 1]]
    assert counts(table)["not in isic_bias.csv"] == 3


def test_the_artefact_vasc_is_not_the_diagnosis_VASC(root):
    assert load_dataset(config(root, attributes=["vasc"])).rows["vasc"].tolist() == [0, 0, 0]
    with pytest.raises(UserError, match=r"isic_inferred_wocarcinoma.csv has no column 'VASC'.*vasc"):
        load_dataset(config(root, attributes=["VASC"]))
    with pytest.raises(UserError, match=r"isic_bias.csv has no column 'vasc'"):
        load_dataset(config(root, attributes=["vasc"], isic={"artefacts": "manual"}))


def test_no_attributes_need_no_artefact_table(root):
    (root / "isic_inferred_wocarcinoma.csv").unlink()
    assert len(load_dataset(config(root, attributes=[])).rows) == 4
    with pytest.raises(UserError, match=r"no file .*isic_inferred_wocarcinoma.csv"):
        load_dataset(config(root))


def test_rows_with_odd_diagnoses_leave(root):
    more = "ISIC_0,1,0,0,0,0\nISIC_6,1,1,0,0,0\nISIC_7,0,0,0,0,0\nISIC_8,2,0,0,0,0\n,1,0,0,0,0\n"
    write(root, truth=TRUTH + more)
    found = counts(load_dataset(config(root)))
    assert (found["duplicate id"], found["not one class"], found["odd label"], found["blank id"]) == (
        1,
        2,
        1,
        1,
    )


def test_probabilities_outside_0_and_1_leave(root):
    write(root, inferred=INFERRED.replace("0.95", "95"))
    table = load_dataset(config(root))
    assert "ISIC_0" not in set(table.rows["image_id"])
    assert any("hair is '95'; expected a probability in [0, 1] or blank" in p.message for p in table.problems)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"classes": ["MLE"]}, "no column 'MLE', asked for by dataset.classes. Did you mean 'MEL'?"),
        ({"attributes": ["hiar"]}, "no column 'hiar', asked for by dataset.attributes. Did you mean 'hair'?"),
        ({"attributes": ["label"]}, "no column 'label'"),
        ({"root": "/nowhere/at/all"}, "dataset.root: no folder /nowhere/at/all"),
        ({"classes": ["VASC"]}, "no usable image in"),
    ],
)
def test_what_the_data_do_not_have_is_an_error_that_helps(root, overrides, words):
    with pytest.raises(UserError) as caught:
        load_dataset(config(root, **overrides))
    assert words in str(caught.value)


def test_a_missing_folder_or_metadata_is_named(root):
    (root / "ISIC_2019_Training_Metadata.csv").unlink()
    with pytest.raises(UserError, match=r"no file .*Metadata.csv"):
        load_dataset(config(root))
    shutil.rmtree(root / "ISIC_2019_Training_Input")
    with pytest.raises(UserError, match=r"no image in .* has a folder ISIC_2019_Training_Input next to"):
        load_dataset(config(root))


def rows_of(root, **overrides):
    return load_dataset(config(root, **overrides)).rows.drop(columns="path")


@pytest.mark.parametrize("folder", ["ISIC_2019_Training_Input/ISIC_2019_Training_Input", "images", "a/b"])
def test_images_are_found_in_a_doubled_folder_and_under_another_name(root, folder):
    usual = rows_of(root)
    (root / "ISIC_2019_Training_Input").rename(root / "moved")
    (root / folder).parent.mkdir(parents=True, exist_ok=True)
    (root / "moved").rename(root / folder)
    assert rows_of(root).equals(usual)


def test_an_image_in_the_outer_folder_goes_before_its_double_in_the_inner(root):
    outer = root / "ISIC_2019_Training_Input"
    shutil.copytree(outer, root / "copy")
    (root / "copy").rename(outer / "ISIC_2019_Training_Input")
    assert load_dataset(config(root)).rows["path"].str.count("Training_Input").eq(1).all()


def test_a_root_that_is_one_folder_off_is_found_or_named(root):
    usual = rows_of(root)
    with pytest.raises(UserError, match=f"give dataset.root={root}$"):
        load_dataset(config(root / "ISIC_2019_Training_Input"))
    (root.parent / "above").mkdir()
    root.rename(root.parent / "above" / "isic")
    assert rows_of(root.parent / "above").equals(usual)


def test_two_files_of_one_id_are_named_and_not_chosen_from(root, draw):
    draw(root / "ISIC_2019_Training_Input", "ISIC_0.png")
    (problem,) = (p for p in load_dataset(config(root)).problems if "ISIC_0" in p.message)
    assert "2 files are called ISIC_0" in problem.message
    assert "ISIC_0.jpg" in problem.message and "ISIC_0.png" in problem.message


@pytest.mark.parametrize("suffix", [".dcm", ".DCM"])
def test_dicom_files_are_found_where_there_is_nothing_else(root, suffix):
    """These are JPEGs under a wrong name, so the message names the first one."""
    for file in (root / "ISIC_2019_Training_Input").iterdir():
        file.rename(file.with_suffix(suffix))
    with pytest.raises(UserError, match=f"none of .* can be read, the first: .*{suffix} is not a DICOM file"):
        load_dataset(config(root))


@pytest.mark.parametrize("index", ["", "Unnamed: 0", "lesion_id", "patient_id", "note"])
def test_a_column_that_is_not_a_diagnosis_is_ignored(root, index):
    usual = rows_of(root)
    lines = TRUTH.splitlines()
    write(
        root, truth="\n".join([f"{index},{lines[0]}", *(f"{k},{line}" for k, line in enumerate(lines[1:]))])
    )
    assert rows_of(root).equals(usual)
    write(
        root, truth="\n".join([f"{lines[0]},{index}", *(f"{line},x{k}" for k, line in enumerate(lines[1:]))])
    )
    assert rows_of(root).equals(usual)


def test_a_table_of_which_most_is_lost_stops_and_says_what_was_lost(root):
    write(root, truth=TRUTH.replace("1.0", "100"))
    with pytest.raises(
        UserError, match=r"5 of 6 rows of .*GroundTruth.csv cannot be used(.|\n)*MEL is '100'"
    ):
        load_dataset(config(root))


@pytest.mark.parametrize("on_error", ["skip", "skip_most"])
def test_most_of_a_table_may_be_lost_where_that_is_asked_for(root, on_error):
    lines = TRUTH.splitlines()
    odd = [f"ISIC_1{k},x,0,0,0,0" for k in range(6)]
    write(root, truth="\n".join([*lines, *odd, "ISIC_20,x,0,0,0,0"]))
    if on_error == "skip":
        with pytest.raises(UserError, match=r"7 of 13 rows .*dataset.on_error=skip_most"):
            load_dataset(config(root, on_error=on_error))
    else:
        assert counts(load_dataset(config(root, on_error=on_error)))["odd label"] == 7


@pytest.mark.parametrize("on_error", ["skip", "skip_most"])
def test_a_part_of_the_images_may_be_missing_but_not_nearly_all_of_them(root, on_error):
    lines = TRUTH.splitlines()
    elsewhere = [f"ISIC_1{k:02},1,0,0,0,0" for k in range(40)]
    write(root, truth="\n".join([*lines, *elsewhere[:20]]))
    assert counts(load_dataset(config(root, attributes=[], on_error=on_error)))["missing image"] == 21
    write(root, truth="\n".join([*lines, *elsewhere]))
    if on_error == "skip":
        with pytest.raises(UserError, match=r"41 of the 45 images (.|\n)*no image ISIC_5"):
            load_dataset(config(root, attributes=[], on_error=on_error))
    else:
        assert len(load_dataset(config(root, attributes=[], on_error=on_error)).rows) == 4


def test_an_official_download_says_whose_the_artefact_tables_are_and_how_to_go_without(root):
    (root / "isic_inferred_wocarcinoma.csv").unlink()
    (root / "isic_bias.csv").unlink()
    for kind, source in (("inferred", "artifact-generalization-skin"), ("manual", "debiasing-skin")):
        with pytest.raises(UserError) as caught:
            load_dataset(config(root, isic={"artefacts": kind}))
        words = ("no file", "Bissoto", source, "dataset=image_table")
        assert all(word in str(caught.value) for word in words)


def test_a_limit_takes_the_same_images_whatever_else_there_is_and_moves_no_split(root):
    whole, part = load_dataset(config(root)).rows, load_dataset(config(root, limit=2)).rows
    assert len(part) == 2
    assert part.merge(whole, how="inner").shape == part.shape


def test_phantoms_come_back_as_they_were_drawn(tmp_path):
    dermoscopy = pytest.importorskip("latentpath.data.phantoms.dermoscopy")
    from latentpath.data.phantoms.write import write_isic2019

    write_isic2019(tmp_path / "isic", count=40, size=32, seed=3)
    attributes = ["hair", "gel_bubble", "ink", "ruler"]
    table = load_dataset(config(tmp_path / "isic", attributes=attributes, on_error="fail"))
    assert len(table.rows) + counts(table).get("other class", 0) == 40
    lesion = {}
    for row in table.rows.itertuples():
        index = int(row.image_id.removeprefix("ISIC_"))
        first = int(row.group.removeprefix("PHA_")) if row.group.startswith("PHA_") else index
        drawn = dermoscopy.draw_dermoscopy(index, size=32, seed=3, lesion=first)
        assert row.cls == drawn.diagnosis
        assert {name: bool(getattr(row, name)) for name in attributes} == {
            n: drawn.attributes[n] for n in attributes
        }
        lesion.setdefault(row.group, set()).add(row.split)
    assert max(map(len, lesion.values())) == 1 and len(lesion) < len(table.rows)
