import pytest
from omegaconf import OmegaConf
from PIL import Image

from latentpath.config.schema import DatasetConfig
from latentpath.data.load import load_dataset
from latentpath.errors import UserError

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Edema,Pleural Effusion,Support Devices\n"
ROWS = """\
CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,
CheXpert-v1.0-small/train/patient00001/study2/view1_frontal.jpg,Female,70,Frontal,LL,,,,1.0,1.0
CheXpert-v1.0-small/train/patient00001/study2/view2_lateral.jpg,Female,70,Lateral,,,,,1.0,1.0
/data/me/train/patient00002/study1/view1_frontal.jpg,Male,,Frontal,,,,,-1.0,1.0
train\\patient00003\\study1\\view1_frontal.jpg,Unknown,0,Frontal,RL,,,,-1.0,0.0
CheXpert/train/patient00004/study1/view1_frontal.jpg,Male,40,Frontal,PA,,1.0,,,1.0
CheXpert/train/patient00005/study1/view1_frontal.jpg,Male,40,Frontal,PA,,,1.0,0.0,
"""


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "my-chexpert", ROWS)


def write(root, rows, header=HEADER):
    root.mkdir(exist_ok=True)
    (root / "train.csv").write_text(header + rows)
    for row in rows.splitlines():
        path = row.split(",")[0].replace("\\", "/")
        if "train/" in path:
            file = root / path[path.index("train/") :]
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4)).save(file)
    return root


def config(root, **overrides):
    base = {
        "layout": "chexpert",
        "root": str(root),
        "classes": ["chest"],
        "attributes": ["Pleural Effusion", "Support Devices"],
        "captions": {
            "with_attributes": "Chest X-ray showing {attributes}",
            "without_attributes": "Normal chest X-ray with no significant findings",
        },
        "on_error": "skip",
        "split_salt": "s",
    }
    return OmegaConf.merge(OmegaConf.structured(DatasetConfig), base, overrides)


def captions(root, **overrides):
    table = load_dataset(config(root, **overrides))
    keys = table.rows["image_id"].str.extract(r"patient0000(\d)_study(\d)_view(\d)").agg("".join, axis=1)
    return dict(zip(keys, table.captions_of(table.rows), strict=True))


def kinds(root, **overrides):
    return {p.kind for p in load_dataset(config(root, **overrides)).problems}


NORMAL, FLUID, DEVICE, BOTH = (
    "Normal chest X-ray with no significant findings",
    "Chest X-ray showing Pleural Effusion",
    "Chest X-ray showing Support Devices",
    "Chest X-ray showing Pleural Effusion, Support Devices",
)


def test_paths_of_any_copy_lead_into_the_root(root):
    rows = load_dataset(config(root)).rows
    assert rows["path"].tolist()[2] == str(root / "train/patient00002/study1/view1_frontal.jpg")
    assert rows["image_id"].is_unique and set(rows["cls"]) == {"chest"}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("ignore", {"111": NORMAL, "121": BOTH, "211": DEVICE, "411": DEVICE}),
        ("zeros", {"111": NORMAL, "121": BOTH, "211": DEVICE, "311": NORMAL, "411": DEVICE}),
        ("ones", {"111": NORMAL, "121": BOTH, "211": BOTH, "311": FLUID, "411": DEVICE}),
    ],
)
def test_uncertain_labels_follow_the_policy_and_no_caption_is_false(root, policy, expected):
    assert captions(root, chexpert={"uncertain": policy}) == expected


def test_ignored_labels_are_nan_and_blanks_are_absent(root):
    rows = load_dataset(config(root)).rows
    assert rows["Pleural Effusion"].isna().tolist() == [False, False, True, False]
    assert rows["Support Devices"].tolist() == [0, 1, 1, 1]


def test_what_is_left_out_on_purpose_is_counted_and_is_no_fault(root):
    table = load_dataset(config(root, on_error="fail"))
    assert {p.kind: (p.row, p.fault) for p in table.problems} == {
        "lateral view": (4, False),
        "only findings that are not in dataset.attributes": (8, False),
        "uncertain whether an attribute is present": (6, False),
    }
    assert (
        "513" not in captions(root)
        and captions(root, attributes=["Edema"])["511"] == "Chest X-ray showing Edema"
    )


def test_laterals_stay_if_asked_for(root):
    assert "122" in captions(root, chexpert={"frontal_only": False})


def test_all_images_of_a_patient_are_in_one_split(tmp_path):
    rows = "".join(
        f"C/train/patient{patient:05d}/study{study}/view1_frontal.jpg,Male,40,Frontal,AP,1.0,,,,\n"
        for patient in range(60)
        for study in range(3)
    )
    table = load_dataset(config(write(tmp_path / "c", rows)))
    assert table.rows.groupby("group")["split"].nunique().max() == 1
    assert table.rows["group"].nunique() == 60 and table.rows["split"].nunique() == 3


def test_fewer_label_columns_are_tolerated_unless_configured(tmp_path):
    header = "Path,Frontal/Lateral,Pleural Effusion\n"
    root = write(tmp_path / "few", "C/train/patient00001/study1/view1_frontal.jpg,,1\n", header)
    assert captions(root, attributes=["Pleural Effusion"]) == {"111": FLUID}
    with pytest.raises(
        UserError, match=r"train.csv has no column 'Support Devices', asked for by dataset.attributes"
    ):
        load_dataset(config(root))


def test_the_file_name_tells_the_view_where_the_column_does_not(tmp_path):
    header = "Path,Pleural Effusion\n"
    rows = (
        "C/train/patient00001/study1/view1_frontal.jpg,1\nC/train/patient00001/study1/view2_lateral.jpg,1\n"
    )
    assert list(captions(write(tmp_path / "c", rows, header), attributes=["Pleural Effusion"])) == ["111"]


def test_odd_rows_leave_with_their_line(tmp_path):
    good = "C/train/patient00001/study1/view1_frontal.jpg,Male,40,Frontal,AP,,,,1.0,0.0\n"
    odd = (
        "somewhere/else.jpg,Male,40,Frontal,AP,,,,1.0,0.0\n"
        ",Male,40,Frontal,AP,,,,1.0,0.0\n"
        + good
        + "C/train/patient00002/study1/view1_frontal.jpg,Male,40,Frontal,AP,,,,3.0,0.0\n"
    )
    root = write(tmp_path / "c", good + odd)
    with (root / "train.csv").open("a") as file:
        file.write("C/train/patient00009/study1/view1_frontal.jpg,Male,40,Frontal,AP,,,,1.0,0.0\n")
    table = load_dataset(config(root, on_error="skip_most"))
    assert len(table.rows) == 1
    assert [(p.kind, p.row) for p in table.problems] == [
        ("odd path", 3),
        ("odd path", 4),
        ("duplicate id", 5),
        ("odd label", 6),
        ("missing image", 7),
    ]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"attributes": ["Pleural Efusion"]}, "Did you mean 'Pleural Effusion'?"),
        ({"attributes": ["Age"]}, "no column 'Age'"),
        ({"attributes": ["No Finding"]}, "'No Finding' is the absence of the others"),
        ({"classes": ["a", "b"]}, "CheXpert has a single class"),
        ({"chexpert": {"labels_csv": "valid.csv"}}, "no file"),
    ],
)
def test_what_the_data_do_not_have_is_an_error_that_helps(root, overrides, words):
    with pytest.raises(UserError) as caught:
        load_dataset(config(root, **overrides))
    assert words in str(caught.value)


def test_the_official_batches_are_read_as_they_are(root, tmp_path):
    usual = captions(root)
    batches = tmp_path / "chexpertchestxrays-u20210408"
    first, second, third = (
        batches / f"CheXpert-v1.0 batch {k} ({what})"
        for k, what in ((1, "validate & csv"), (2, "train 1"), (3, "train 2"))
    )
    for folder in (first, second, third):
        folder.mkdir(parents=True)
    (root / "train.csv").rename(first / "train.csv")
    for number, patient in enumerate(sorted((root / "train").iterdir())):
        patient.rename((second, third)[number % 2] / patient.name)
    assert captions(batches) == usual


def test_a_patient_of_another_folder_is_not_taken_for_a_missing_one(root):
    """Only the folders of the official batches stand for `train`."""
    (root / "train").rename(root / "other")
    with pytest.raises(UserError, match=r"images that .*train.csv asks for are missing"):
        load_dataset(config(root))


def test_images_of_a_small_copy_are_found_whatever_their_case(root):
    for file in list(root.rglob("*.jpg")):
        file.rename(file.with_suffix(".JPG"))
    assert len(captions(root)) == 4


def test_phantoms_come_back_as_they_were_written(tmp_path):
    pytest.importorskip("latentpath.data.phantoms.write").write_chexpert(
        tmp_path / "c", count=60, size=32, seed=3
    )
    table = load_dataset(config(tmp_path / "c", on_error="fail", chexpert={"uncertain": "zeros"}))
    text = [line.split(",") for line in (tmp_path / "c" / "train.csv").read_text().splitlines()]
    columns = {name: text[0].index(name) for name in table.attributes}
    written = {line[0].split("/", 1)[1]: line for line in text[1:]}
    for _, row in table.rows.iterrows():
        line = written[row["path"].removeprefix(str(tmp_path / "c") + "/")]
        assert {name: row[name] == 1 for name in columns} == {
            name: line[i] == "1.0" for name, i in columns.items()
        }
    assert set(table.captions_of(table.rows)) == {NORMAL, FLUID, DEVICE, BOTH}
    assert table.rows.groupby("group")["split"].nunique().max() == 1
