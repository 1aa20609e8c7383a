"""What a folder of results holds, and has room for, before jobs write into it."""

import math
import shutil
from collections.abc import Mapping, Sequence

from ..core.errors import BenchError, NotWritable
from ..core.recipe import TEXTS
from ..core.suite import Job
from ..job.resources import Session
from ..job.samples import OWNER, fingerprint_of
from ..records.store import read_record

_VALUE_BYTES = 4  # of a latent, of a feature, and of the class of an image


def check_folder(jobs: Sequence[Job], fingerprints: Mapping[str, str], session: Session) -> None:
    """Set aside records of ``jobs`` that cannot be read.

    A record cannot be read if it is damaged, was edited, or belongs to another job. Raises
    BenchError for such a record of other jobs, NotWritable where the samples and their features
    have no room.
    """
    store, own = session.store, {job.id for job in jobs}
    for path in store.paths():
        try:
            read_record(path)
        except BenchError as error:
            if path.stem not in own:
                raise
            aside = store.set_aside(path.stem)
            session.reporter.say(f"{error}: moved to {aside}, the job is run again")
    _check_room(jobs, fingerprints, session)


def _check_room(jobs: Sequence[Job], fingerprints: Mapping[str, str], session: Session) -> None:
    store, needed = session.store, 0
    for job in jobs:
        if not session.fresh and store.done(job.id, fingerprints[job.id]):
            continue
        model = session.resources.loader.model(job.model, job.protocol)
        values = math.prod(model.latent_shape) + 1
        evaluator = session.resources.loader.evaluator(job.protocol)
        if evaluator is not None:
            network = evaluator.network
            values += network.dimension + (network.spatial_dimension or 0)
        size = job.protocol.images * (math.prod(model.image_shape) + _VALUE_BYTES * values)
        there = sum(path.stat().st_size for path in store.samples_path(job.id).glob("shard-*"))
        needed += max(0, size - there)
    folder = next(p for p in (store.folder, *store.folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NotWritable(
            f"the samples and their features take {needed / 1e6:,.1f} MB and {folder} has "
            f"{free / 1e6:,.1f} MB left: make room, give another --out, or ask for fewer --images"
        )


def is_whole(job: Job, session: Session) -> bool:
    """Return whether the files of a job that is done are as it left them; say what is not."""
    damage = session.store.damage(session.store.read(job.id))
    owner = session.store.samples_path(job.id) / OWNER
    if owner.is_file() and not fingerprint_of(owner.parent):
        damage.append(f"{owner} is damaged")
    for sentence in damage:
        session.reporter.say(f"  {sentence}: made again")
    return not damage


def set_aside_other(job: Job, session: Session) -> None:
    """Keep the record of another recipe or model of this name before ``job`` replaces the record.

    What has changed is said.
    """
    store = session.store
    if not store.record_path(job.id).is_file():
        return
    record, recipe = store.read(job.id), job.recipe.model_dump(mode="json")
    old = record.recipe
    changed = [k for k in recipe if k not in TEXTS and k in old and old[k] != recipe[k]]
    others = [f"recipe of this name ({', '.join(changed)})"] if changed else []
    model = session.resources.loader.model(job.model, job.protocol)
    if record.model_digest not in (None, model.digest):
        others.append("model of this name")
    if others:
        session.reporter.say(
            f"  the record of another {' and '.join(others)} is moved to "
            f"{store.set_aside(job.id)}, its samples are replaced"
        )
