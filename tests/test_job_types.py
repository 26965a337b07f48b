"""The built-in job types, and what a user's file may make of them."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from consumer import job_types
from consumer.errors import UsageError
from consumer.job import Job, Medium
from consumer.request import parse
from consumer.tables import tables_of

EXAMPLE = Path(__file__).parent.parent / "examples" / "job_types.toml"


@pytest.fixture
def own(tmp_path: Path):
    """Writes a user's file and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "own.toml"
        path.write_text(text)
        return path

    return write


def refusal(path: Path) -> list[str]:
    with pytest.raises(UsageError) as caught:
        job_types.load(path)
    return str(caught.value).splitlines()


# As the platform has them, with count, max_count, steps, guidance, width, height, frames, enhanced.
PLATFORM = [
    ("sdxl_image_fast", "sdxl", Medium.image, 3, 6, 25, 6.5, 1024, 1024, None, False),
    ("sdxl_image_high", "sdxl", Medium.image, 3, 6, 50, 7.5, 1024, 1024, None, False),
    ("image_fast", "wan", Medium.image, 1, 1, 25, 6.5, 480, 832, None, False),
    ("image_high", "wan", Medium.image, 1, 1, 50, 7.5, 480, 832, None, False),
    ("video_fast", "wan", Medium.video, 1, 1, 25, 6.5, 480, 832, 81, False),
    ("video_high", "wan", Medium.video, 1, 1, 50, 7.5, 480, 832, 81, False),
    ("wan_video_fast", "wan", Medium.video, 1, 1, 25, 6.5, 480, 832, 81, False),
    ("wan_video_high", "wan", Medium.video, 1, 1, 50, 7.5, 480, 832, 81, False),
    ("image7b_fast_enhanced", "wan", Medium.image, 1, 1, 25, 6.5, 480, 832, None, True),
    ("image7b_high_enhanced", "wan", Medium.image, 1, 1, 50, 7.5, 480, 832, None, True),
    ("video7b_fast_enhanced", "wan", Medium.video, 1, 1, 25, 6.5, 480, 832, 81, True),
    ("video7b_high_enhanced", "wan", Medium.video, 1, 1, 50, 7.5, 480, 832, 81, True),
]


@pytest.mark.parametrize("row", PLATFORM, ids=lambda row: row[0])
def test_the_platforms_job_types_keep_their_defaults(row):
    name, engine, medium, count, max_count, steps, guidance, width, height, frames, enhanced = row
    known = job_types.load()[name]
    assert (known.name, known.engine, known.medium) == (name, engine, medium)
    assert (known.count, known.max_count) == (count, max_count)
    wanted = {"steps": steps, "guidance_scale": guidance, "width": width, "height": height}
    if frames:
        wanted |= {"num_frames": frames, "fps": 16}
    if enhanced:
        wanted |= {"enhance": True}
    assert known.defaults == wanted


def test_nothing_but_the_platforms_job_types_and_sketch_is_built_in():
    assert set(job_types.load()) == {row[0] for row in PLATFORM} | {"sketch"}


def test_the_built_in_file_has_no_mistakes():
    for name, table in tables_of(job_types.BUILT_IN).items():
        assert list(job_types.mistakes(name, table)) == []


def test_a_longer_job_costs_more():
    known = job_types.load()
    assert known["sketch"].cost < known["sdxl_image_fast"].cost < known["video_fast"].cost
    for fast in (name for name in known if "fast" in name):
        assert known[fast].cost < known[fast.replace("fast", "high")].cost


def test_a_users_file_changes_single_keys_and_leaves_the_rest(own):
    built_in = job_types.load()
    known = job_types.load(own("[sdxl_image_fast]\nmax_count = 4\ndefaults.steps = 20\n"))
    changed = known.pop("sdxl_image_fast")
    before = built_in.pop("sdxl_image_fast")
    assert (changed.max_count, changed.count, changed.engine) == (4, before.count, before.engine)
    assert changed.defaults == {**before.defaults, "steps": 20}
    assert known == built_in


def test_a_users_file_adds_a_job_type(own):
    known = job_types.load(own('[poster]\nengine = "mine"\nmedium = "image"\n'))["poster"]
    assert (known.name, known.engine, known.medium) == ("poster", "mine", Medium.image)
    assert (known.count, known.max_count, known.cost, known.defaults) == (1, 1, 1.0, {})


def test_a_job_type_may_have_a_model_of_its_own(own):
    known = job_types.load(own('[sdxl_image_fast]\nmodel = "some/model"\n'))
    assert known["sdxl_image_fast"].model == "some/model"
    assert known["sdxl_image_high"].model == ""


LIGHTNING = "ByteDance/SDXL-Lightning-8step"
FEW = {"steps": 8, "guidance_scale": 0, "scheduler": "lightning"}


def test_the_profile_of_an_engines_model_changes_the_defaults_of_its_job_types():
    plain, known = job_types.load(), job_types.load(models={"sdxl": LIGHTNING, "wan": ""})
    for name in plain:
        changed = FEW if plain[name].engine == "sdxl" else {}
        assert known[name] == replace(plain[name], defaults={**plain[name].defaults, **changed})


def test_the_profile_of_a_job_types_own_model_goes_before_that_of_the_engines(own):
    path = own('[sdxl_image_fast]\nmodel = "some/model-LCM"\n[sdxl_image_high]\nmodel = "some/model"\n')
    known = job_types.load(path, {"sdxl": LIGHTNING})
    assert known["sdxl_image_fast"].defaults["scheduler"] == "lcm"
    assert known["sdxl_image_high"].defaults == job_types.load()["sdxl_image_high"].defaults
    assert job_types.load(path)["sdxl_image_fast"].defaults["scheduler"] == "lcm"


def test_a_users_defaults_go_before_the_profile_and_a_request_before_both(own):
    path = own("[sdxl_image_fast]\ndefaults.steps = 6\n")
    known = job_types.load(path, {"sdxl": LIGHTNING})["sdxl_image_fast"]
    assert known.defaults == {"width": 1024, "height": 1024, **FEW, "steps": 6}
    job = Job(UUID(int=1), UUID(int=2), known.name, "sdxl", 1, 1, 3, {"seed": 7, "prompt": "a", "guidance_scale": 2})
    request = parse(job, known)
    assert (request.steps, request.guidance_scale, request.scheduler) == (6, 2, "lightning")


def test_a_job_type_of_ones_own_and_one_that_changes_its_engine_get_the_profile_of_that(own):
    path = own(NEW + '[video_fast]\nengine = "sdxl"\n')
    known = job_types.load(path, {"sdxl": LIGHTNING, "wan": "lightx2v/Wan2.1-T2V-14B-StepDistill-CfgDistill"})
    assert known["x"].defaults == FEW
    assert known["video_fast"].defaults["steps"] == 8
    assert known["video_high"].defaults["steps"] == 4


def test_the_example_file_loads():
    known = job_types.load(EXAMPLE)
    assert known["sdxl_image_fast"].defaults["steps"] == 20
    assert known["sdxl_image_fast"].defaults["guidance_scale"] == 6.5
    assert known["poster"].max_count == 2


NEW = '[x]\nengine = "sdxl"\nmedium = "image"\n'
KEYS = "engine, medium, model, count, max_count, cost, defaults"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[x]\nmedium = 'image'", "x: engine is missing; it must be up to 64 of a-z, 0-9 and _."),
        ("[x]\nengine = 'sdxl'", "x: medium is missing; it must be one of image, video."),
        ("[x]\nengine = 'S D'\nmedium = 'image'", "x: engine must be up to 64 of a-z, 0-9 and _."),
        ("[x]\nengine = 'sdxl'\nmedium = 'sound'", "x: medium must be one of image, video."),
        (NEW + "model = 3", "x: model must be a text of at most 1000 characters."),
        (NEW + "count = 0", "x: count must be a whole number from 1 to 16."),
        (NEW + "count = true", "x: count must be a whole number from 1 to 16."),
        (NEW + "max_count = 17", "x: max_count must be a whole number from 1 to 16."),
        (NEW + "max_count = 2.5", "x: max_count must be a whole number from 1 to 16."),
        (NEW + "max_count = '2'", "x: max_count must be a whole number from 1 to 16."),
        (NEW + "count = 3\nmax_count = 2", "x: count must be at most max_count, which is 2."),
        ("[sdxl_image_fast]\nmax_count = 2", "sdxl_image_fast: count must be at most max_count, which is 2."),
        (NEW + "cost = 0", "x: cost must be a number from 0.01 to 86400."),
        (NEW + "cost = nan", "x: cost must be a number from 0.01 to 86400."),
        (NEW + "speed = 1", f"x: speed is not a key of a job type; these are {KEYS}."),
        (NEW + "defaults = 3", "x: defaults must be a table of request fields."),
        (NEW + "defaults.steps = 101", "x: defaults.steps must be a whole number from 1 to 100."),
        (NEW + "defaults.step = 10", "x: defaults.step is not a field of a request."),
        (NEW + "defaults.sample_steps = 10", "x: defaults.sample_steps is called steps here."),
        (NEW + "defaults.seed = 1", "x: defaults.seed cannot have a default."),
        (NEW + "defaults.resolution = '64x64'", "x: defaults.resolution cannot have a default."),
        (
            "[Big-Name]\nengine = 'sdxl'\nmedium = 'image'",
            "Big-Name: the name must be up to 64 of a-z, 0-9 and _.",
        ),
        ("x = 3", "x: must be a table."),
    ],
)
def test_a_mistake_names_the_file_the_job_type_the_key_and_the_limit(own, text, mistake):
    path = own(text)
    assert refusal(path) == [f"{path}: {mistake}"]


def test_all_mistakes_are_reported_at_once(own):
    path = own(NEW + "count = 0\nspeed = 1\ndefaults.steps = 0\n[sdxl_image_fast]\nmax_count = 99\n")
    lines = refusal(path)
    assert [line.split(": ")[1] for line in lines] == ["x", "x", "x", "sdxl_image_fast"]
    assert [line.split(": ")[2].split()[0] for line in lines] == [
        "count",
        "speed",
        "defaults.steps",
        "max_count",
    ]


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path):
    path = tmp_path / "none.toml"
    assert refusal(path) == [f"{path}: cannot be read (No such file or directory)."]


@pytest.mark.parametrize("content", [b"[x\n", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_a_usage_error(tmp_path, content):
    path = tmp_path / "own.toml"
    path.write_bytes(content)
    assert refusal(path)[0].startswith(f"{path}: is not TOML: ")


def test_a_process_serves_the_job_types_of_its_engines():
    known = job_types.load()
    assert set(job_types.served(known, ("sdxl",))) == {"sdxl_image_fast", "sdxl_image_high"}
    assert set(job_types.served(known, ("sketch",))) == {"sketch"}
    assert job_types.served(known, ("sdxl", "wan", "sketch")) == known
    assert job_types.served(known, ()) == {}


def test_a_stand_in_serves_every_job_type_as_it_is():
    known = job_types.load()
    assert job_types.served(known, ("sketch",), stand_in=True) == known
