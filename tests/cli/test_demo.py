"""`consumer demo`, as a newcomer runs it."""

import re
from pathlib import Path

import psycopg
import pytest

from demos import Living, Start, check_files, in_a_picture


def test_it_shows_pictures_and_leaves_nothing_running(demo: Start, adopted: Living) -> None:
    shown = demo()
    assert shown.end() == (0, "")
    assert adopted() == []
    check_files(shown, [(1024, 1024)] * 3 + [(1024, 576)] * 2 + [(480, 832)])
    assert sum(line.endswith("  completed") for line in shown.lines) == 6
    assert re.search(r"5 pictures and 1 video of 3 jobs in [\d.]+ seconds", "\n".join(shown.lines))


@pytest.mark.models
def test_it_shows_the_real_sdxl_pipeline_too(demo: Start, adopted: Living) -> None:
    shown = demo("--engine", "sdxl", "--jobs", "2")
    assert shown.end(110) == (0, "")
    assert adopted() == []
    check_files(shown, [(256, 256)] * 3 + [(320, 192)] * 2)


@pytest.mark.models
def test_it_shows_the_real_wan_pipeline_too(demo: Start, adopted: Living) -> None:
    shown = demo("--engine", "wan", "--jobs", "3")
    assert shown.end(110) == (0, "")
    assert adopted() == []
    check_files(shown, [(256, 256), (320, 192), (192, 256)])
    assert re.search(r"2 pictures and 1 video of 3 jobs", "\n".join(shown.lines))


def test_two_run_side_by_side(demo: Start) -> None:
    both = [demo("--jobs", "1", directory=name, CONSUMER_SKETCH_SECONDS="0.1") for name in ("one", "two")]
    for each in both:
        assert each.end() == (0, "")
        check_files(each, [(1024, 1024)] * 3)


def test_a_job_that_is_not_completed_is_told_and_the_others_are_shown(demo: Start) -> None:
    shown = demo("--jobs", "2", CONSUMER_SKETCH_SECONDS="0.3")
    in_a_picture(shown)
    [worker] = [process for process in shown.descendants() if "run" in process.cmdline()]
    with psycopg.connect(worker.environ()["DATABASE_URL"], autocommit=True) as operator:
        last = "select id, public.cancel_job(id) from public.jobs where status = 'queued'"
        [[job_id, status]] = operator.execute(last).fetchall()
    assert status == "cancelled"
    code, said = shown.end()
    assert (code, said) == (1, f"The job {job_id} is cancelled.\nThe worker's log is {shown.directory}/worker.log\n")
    assert sum(f"{str(job_id)[:8]}" in line and "cancelled" in line for line in shown.lines) == 2
    assert "3 pictures of 2 jobs" in "\n".join(shown.lines)
    assert (shown.directory / "index.html").read_text().count('<li class="cancelled">') == 2


def test_what_an_earlier_demo_made_is_replaced_and_nothing_else(demo: Start) -> None:
    first = demo("--jobs", "1", CONSUMER_SKETCH_SECONDS="0")
    assert first.end()[0] == 0
    old = set(first.directory.rglob("*.png"))
    (first.directory / "mine.txt").write_text("mine")
    second = demo("--jobs", "1", CONSUMER_SKETCH_SECONDS="0")
    assert second.end()[0] == 0
    assert set(second.directory.rglob("*.png")) & old == {second.directory / "contact-sheet.png"}
    assert (second.directory / "mine.txt").read_text() == "mine"


def test_a_storage_that_no_demo_made_is_left_alone(demo: Start, tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "picture.png").touch()
    code, said = demo(directory=".").end()
    assert (code, said) == (2, f"{tmp_path} has a storage that no demo made: choose another folder with --directory.\n")
    assert (tmp_path / "storage" / "picture.png").exists()


def test_a_folder_in_use_is_left_to_its_demo(demo: Start) -> None:
    first = demo("--jobs", "1", CONSUMER_SKETCH_SECONDS="1")
    in_a_picture(first)
    assert demo().end() == (2, "Another demo is at work in demo: choose another folder with --directory.\n")
    assert first.end() == (0, "")


def test_a_folder_that_cannot_be_used_is_told(demo: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert demo(directory="file").end() == (2, "file cannot be used for the demo: File exists.\n")
    assert demo(directory="file/demo").end() == (2, "file/demo cannot be used for the demo: Not a directory.\n")


@pytest.mark.parametrize("jobs", ["0", "101"])
def test_a_number_of_jobs_out_of_range_is_refused(demo: Start, jobs: str) -> None:
    refused = demo("--jobs", jobs)
    assert refused.end() == (2, "--jobs must be a whole number from 1 to 100.\n")
    assert not refused.directory.exists()


def test_settings_for_a_real_worker_do_not_reach_the_demo(demo: Start, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://nobody@127.0.0.1:1/nothing\nCONSUMER_STORAGE=supabase\n")
    shown = demo(
        "--jobs", "1", CONSUMER_SKETCH_SECONDS="0", CONSUMER_STORAGE="supabase", CONSUMER_LEASE_SECONDS="wrong",
        CONSUMER_LISTEN_URL="postgresql://nobody@127.0.0.1:1/nothing", PGHOST="127.0.0.1", PGPORT="1",
    )  # fmt: skip
    assert shown.end() == (0, "")
    check_files(shown, [(1024, 1024)] * 3)
