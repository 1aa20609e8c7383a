"""What a folder of results already holds: records that are whole, and those to be set aside."""

from collections.abc import Sequence

from ..core.errors import BenchError
from ..core.recipe import TEXTS
from ..core.suite import Job
from ..job.resources import Session


def check_kept(jobs: Sequence[Job], session: Session) -> None:
    """Set aside records of ``jobs`` that cannot be read. Raises BenchError for other such records.

    A record cannot be read if it is damaged, was edited, or belongs to another job.
    """
    store, own = session.store, {job.id for job in jobs}
    for job in store.jobs():
        try:
            store.read(job)
        except BenchError as error:
            if job not in own:
                raise
            session.reporter.say(f"{error}: moved to {store.set_aside(job)}, the job is run again")


def is_whole(job: Job, session: Session) -> bool:
    """Return whether the files of a job that is done are as it left them; say what is not."""
    damage = session.store.damage(session.store.read(job.id))
    for sentence in damage:
        session.reporter.say(f"  {sentence}: made again")
    return not damage


def set_aside_other_recipe(job: Job, session: Session) -> None:
    """Keep the record of another recipe of this name, which is about to be replaced, and say so."""
    store = session.store
    if not store.record_path(job.id).is_file():
        return
    recipe, old = job.recipe.model_dump(mode="json"), store.read(job.id).recipe
    changed = [k for k in recipe if k not in TEXTS and k in old and old[k] != recipe[k]]
    if changed:
        what = ", ".join(changed)
        session.reporter.say(
            f"  the record of another recipe of this name ({what}) is moved to "
            f"{store.set_aside(job.id)}, its samples are replaced"
        )
