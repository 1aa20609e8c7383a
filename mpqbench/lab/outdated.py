"""Which records in the folder of a run are no longer those of its suite, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import BenchError
from ..core.formats import OWN
from ..core.suite import Job
from ..job.fingerprints import recipe_digest
from ..job.resources import Session
from ..records.left_out import LeftOut
from ..records.schema import JobRecord

Methods = Mapping[str, str | dict[str, Any]]


def find_outdated(jobs: Sequence[Job], methods: Methods, session: Session) -> dict[str, LeftOut]:
    """Return the records that are not of a suite, by job, after its ``jobs`` were run.

    ``methods`` are all of the suite, by name. Records of other models, budgets, classes of formats
    and seeds are the suite's as long as they can be compared with its own: recipe, protocol, model
    and reference.
    """
    planned = {job.id for job in jobs}
    records = session.store.read_all()
    own = [record for record in records if record.job in planned]
    found, in_classes = {}, any(job.format_class for job in jobs)
    for record in (record for record in records if record.job not in planned):
        reason = (
            _other_recipe(record, methods, session, in_classes)
            or _other_protocol(record, jobs[0].protocol.model_dump(mode="json"))
            or _other_inputs(record, own)
        )
        if reason:
            found[record.job] = LeftOut(fingerprint=record.fingerprint, reason=reason)
    return found


def _other_recipe(record: JobRecord, methods: Methods, session: Session, in_classes: bool) -> str:
    if record.is_full_precision:
        return ""
    if record.method not in methods:
        return f"the suite has no method '{record.method}'"
    try:
        recipe = session.registry.method(methods[record.method])
        if in_classes and record.format != OWN:
            recipe = recipe.in_class(record.format)
        same = record.recipe_digest == recipe_digest(recipe, session.registry)
    except BenchError as error:
        return f"the recipe of '{record.method}' cannot be read: {error}"
    return "" if same else f"the recipe of '{record.method}', or its code, has changed since"


def _other_protocol(record: JobRecord, protocol: Mapping[str, Any]) -> str:
    changed = [
        f"{key} is {protocol[key]} now and was {record.protocol.get(key)}"
        for key in protocol
        if key != "name" and protocol[key] != record.protocol.get(key)
    ]
    return f"the protocol has changed: {', '.join(changed)}" if changed else ""


def _other_inputs(record: JobRecord, own: Sequence[JobRecord]) -> str:
    models = {each.model_digest for each in own if each.model == record.model}
    if models and record.model_digest not in models:
        return f"model '{record.model}' has changed since"
    metrics = {each.metric_fingerprint for each in own} - {None}
    if metrics and record.metric_fingerprint not in {*metrics, None}:
        return "the feature network or the reference has changed since"
    return ""
