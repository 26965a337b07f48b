"""What a job does, told in a few lines of Python: the queue's statements must do the same to its rows."""

from dataclasses import dataclass, field
from uuid import UUID

from consumer.job import Job
from jobs import Row

FINAL = ("completed", "failed", "cancelled")


@dataclass
class ModelJob:
    """A job as its row and the rows of its images must be."""

    id: UUID
    user: UUID
    job_type: str
    priority: int
    tries: int
    images: list[str]
    """The status of each, in order of index."""
    place: str | None = "line"
    """Where it waits: in `line`, for a promotion since it is `due`, or until `later`."""
    held_back: bool = False
    """In line, and yet outside it: its user has as many running as may be."""
    status: str = "queued"
    attempts: int = 0
    worker: UUID | None = None
    claim_id: int | None = None
    seed: int | None = None
    progress: int | None = None
    prompt: str | None = None
    errors: int = 0
    own: set[int] = field(default_factory=set)
    """The indexes whose rows the application has replaced."""
    final: tuple[Row, list[Row]] | None = None
    """All that the rows held when it was first seen to be over."""

    def claim(self, worker: UUID, claim: Job) -> None:
        self.status, self.place, self.worker, self.claim_id = "processing", None, worker, claim.claim_id
        self.attempts += 1
        self.seed = claim.metadata["seed"]

    def advance(self, percent: int, index: int) -> None:
        self.progress = max(percent, self.progress or 0)
        if index < len(self.images) and self.images[index] != "completed":
            self.images[index] = "processing"

    def requeue(self, place: str, *, give_back: bool = False, error: bool = False) -> None:
        """Back to where it waits, with or without another attempt counted."""
        self.status, self.place, self.worker = "queued", place, None
        self.attempts -= give_back
        self.errors += error
        self.images = ["queued" if image == "processing" else image for image in self.images]

    def end(self, status: str, *, error: bool = False) -> None:
        self.status, self.place, self.worker = status, None, None
        self.errors += error
        kept = ("completed", "failed", "cancelled") if status == "cancelled" else ("completed",)
        self.images = [image if image in kept else status for image in self.images]
        if status == "completed":
            self.progress = 100

    def rescue(self) -> None:
        """Its worker is dead."""
        if self.attempts < self.tries:
            self.requeue("line", error=True)
        else:
            self.end("failed", error=True)

    def start_anew(self) -> None:
        """Its user retries it."""
        self.status, self.place, self.attempts, self.progress, self.final = "queued", "line", 0, None, None
        self.images = [image if image == "completed" else "queued" for image in self.images]

    def replace(self, index: int) -> None:
        """The application inserts a row of its own."""
        self.own.add(index)
        self.final = None

    def check(self, row: Row, images: list[Row], *, limited: bool) -> None:
        """The rows say what this says; they alone say which jobs of a `limited` user are held back."""
        self.held_back = limited and self.place == "line" and row["queue_at"] is None
        told = {name: getattr(self, name) for name in ("status", "attempts", "claim_id")}
        told |= {"worker_id": self.worker, "enhanced_prompt": self.prompt}
        assert {name: row[name] for name in told} == told
        assert [(image["image_index"], image["status"]) for image in images] == [*enumerate(self.images)]
        assert (row["queue_at"] is not None) == (self.place == "line" and not self.held_back)
        assert (row["available_at"] is not None) == (self.place in ("due", "later"))
        assert (row["completed_at"] is not None) == (self.status in FINAL)
        assert (row["error_message"] is not None) == (self.status == "failed")
        assert len(row["errors"]) == self.errors
        assert row["metadata"].get("seed") == self.seed
        assert row["metadata"].get("progress") == self.progress
        assert self.attempts <= self.tries
        if self.status == "completed":
            assert [asset["metadata"]["asset_index"] for asset in row["metadata"]["assets"]] == [*range(len(images))]
        if self.status in FINAL:
            self.final = self.final or (row, images)
            assert (row, images) == self.final
