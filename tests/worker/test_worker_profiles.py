"""A worker gives its job types the profile of the model that it was set to."""

import pytest

from user_jobs import UserJobs
from workers import Site


@pytest.mark.parametrize(("sent", "steps"), [({}, 8), ({"steps": 3}, 3)])
def test_a_job_gets_the_steps_and_the_guidance_of_the_model_where_it_is_silent(
    site: Site, jobs: UserJobs, sent: dict[str, int], steps: int
) -> None:
    job = jobs.submit("a lighthouse", 1, "sdxl_image_high", width=64, height=64, **sent)
    worker = site.start("--once", engines="sketch", model_sdxl="ByteDance/SDXL-Lightning-8step")
    assert worker.wait() == 0, worker.output
    [image] = jobs.images(job)
    assert (image["metadata"]["steps"], image["metadata"]["guidance_scale"]) == (steps, 0)
