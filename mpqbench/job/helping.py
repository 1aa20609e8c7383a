"""Helping with the samples of a job that another process runs."""

import random
import traceback
import uuid
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace

from ..core.claims import Holder
from ..core.errors import ANY_ERROR, BenchError, NotWritable, reason_of
from ..core.precision import Allocation
from ..core.suite import Job
from . import stages
from .context import JobContext, calibrate
from .correct import correct
from .filling import Filling, missing
from .guard import Guard, changed_model, lost_state
from .resources import Session
from .samples import SampleStore, samples_of
from .sharing import ShardPlan, ShardRange, Sharing, name_of, predictions_digest


@dataclass
class Help:
    """What came of helping: the number of shards that were made, and why no more can be."""

    shards: int = 0
    reason: str = ""


def help_sample(job: Job, session: Session, holder: Holder) -> Help:
    """Make shards of ``job``, which ``holder`` runs, until none is left or the job has ended.

    The model comes from the cache: no search, slow rounding, training or correction is done again.
    A plugin is guarded as in ``run_job``. Raises NotWritable, and BenchError where the process
    cannot be restored.
    """
    made, plan = Help(), Sharing.of(session.store, job.id).plan(holder)
    if plan is None or not shards_for_each(job, session, holder):
        return made
    loader = session.resources.loader
    loader.watch(job.model, job.protocol)
    guard = Guard(session.resources.patches)
    try:
        with guard:
            _help(_Helped(job, session, holder, plan), made, guard)
    except NotWritable:
        raise
    except ANY_ERROR as error:
        made.reason = reason_of(error)
        if not isinstance(error, BenchError):
            made.reason += f" ({traceback.extract_tb(error.__traceback__)[-1]})"
    changed = loader.changes()
    if changed:
        made.reason = changed_model(changed)
    if guard.lost:
        raise BenchError(lost_state(job.recipe.name, guard))
    return made


@dataclass(frozen=True)
class _Helped:
    job: Job
    session: Session
    holder: Holder
    plan: ShardPlan


def shards_for_each(job: Job, session: Session, holder: Holder) -> float:
    """Return how many shards of ``job`` there are for each process that makes them and one more.

    Only shards of the same samples count that are neither made nor claimed; 0 for none.
    """
    sharing, samples = Sharing.of(session.store, job.id), samples_of(job, session)
    plan = sharing.plan(holder)
    if plan is None or plan.fingerprint != samples.fingerprint:
        return 0
    held = sharing.claims.holders()
    free = sum(name_of(shard) not in held for shard in missing(samples, plan.shards))
    return free / (len(held) + 1)


def _help(helped: _Helped, made: Help, guard: Guard) -> None:
    job, session, plan = helped.job, helped.session, helped.plan
    session.reporter.say(f"  helping {helped.holder} to sample {job.id}")
    context = JobContext.open(job, session.resources)
    with guard.one_thread():
        context = calibrate(context)
        data = stages.record_data(context, fresh=False)
        quantized = stages.quantize(context, Allocation.from_json(plan.allocation), kept=True)
    with quantized:
        if data is not None:
            checkpoint = replace(data.checkpoint, required=True)
            stages.tune(context, quantized, replace(data, checkpoint=checkpoint))
        with guard.one_thread():
            corrections = correct(context, quantized, kept=True)
        sampler = stages.sampler_of(context, corrections)
        if predictions_digest(sampler) != plan.predicted:
            raise BenchError(
                "this process computes other last bits than the one that runs the job, as with "
                "another processor or number of threads"
            )
        sharing, samples = Sharing.of(session.store, job.id), samples_of(job, session)
        total = sum(stop - start for start, stop in plan.shards)
        with (
            context.reporter.stage(f"helping with {context.title}", total) as advance,
            closing(claimed_shards(sharing, samples, plan, helped.holder)) as shards,
        ):
            for shard in shards:
                Filling(samples, sampler, advance).leave(shard)
                made.shards += 1


def claimed_shards(
    sharing: Sharing, samples: SampleStore, plan: ShardPlan, holder: Holder
) -> Generator[ShardRange]:
    """Yield the shards of ``plan`` that are missing and not claimed, and claim each meanwhile.

    Ends where ``holder`` no longer offers shards. Each process takes the shards in an order of its
    own, so that many of them do not all ask for the claim of the same one.
    """
    order = list(plan.shards)
    random.Random(uuid.uuid4().int).shuffle(order)
    while sharing.plan(holder) is not None:
        left = missing(samples, order)
        for taken in (sharing.claims.claimed, sharing.claims.holders):
            names = taken()
            if free := [shard for shard in left if name_of(shard) not in names]:
                break
        for shard in free:  # of which some have the claim of a process that has ended
            with sharing.claims.hold(name_of(shard), plan.fingerprint) as other:
                if other is None and missing(samples, [shard]):
                    yield shard
                    break
        else:
            return
