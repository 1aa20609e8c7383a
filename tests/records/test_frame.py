"""The table of all records: types, missing values, pairs and means over seeds."""

import numpy as np
import pytest
from test_record_store import make

from mpqbench.core.errors import BenchError
from mpqbench.records.frame import paired, records_frame, rows_of, seed_means
from mpqbench.records.schema import Score


def scored(job, seed, fd, noise=(0.0, 0.0), **changes):
    replicates = tuple(fd + own for own in noise)
    scores = {"fd": Score(value=fd, ci=0.3, replicates=replicates)}
    return make(job).model_copy(update={"seed": seed, "scores": scores, **changes})


def test_a_row_has_exact_integers_and_nothing_for_what_is_missing():
    frame = records_frame([make("b", "failed", "no disk"), make("a")])
    done, failed = rows_of(frame)
    assert (done["job"], done["bytes"], done["fd"]) == ("a", 4_000_000, 1.5)
    assert type(done["bytes"]) is int
    assert (failed["reason"], failed["n_images"]) == ("no disk", 0)
    for name in ("fd", "bytes", "satisfied", "metric_fingerprint", "mean_weight_bits"):
        assert failed[name] is None
    with pytest.raises(BenchError, match="two records of job 'a'"):
        records_frame([make("a"), make("a")])


def test_pairs_share_their_seed_and_means_their_method():
    noise = np.array([0.4, -0.4])
    own = records_frame([scored("a", 0, 3.0, noise), scored("b", 1, 5.0), scored("c", 2, 4.0)])
    full = records_frame([scored("f", 0, 1.0), scored("g", 1, 2.0)]).set_index("seed")
    found = paired(own, full)
    assert found.delta.tolist()[:2] == [2.0, 3.0]
    assert found.ci[0] == pytest.approx(1.96 * np.sqrt(0.5 * np.sum(noise**2)))
    assert found.loc[2, ["delta", "ci"]].isna().all()
    assert found.unpaired.tolist() == ["", "", "none of this seed"]
    (row,) = rows_of(seed_means(own, ["fd"], ["bytes"]))
    assert (row["fd"], row["seeds"], row["seeds_done"], row["status"]) == (4.0, 3, 3, "done")
    assert (row["fd_std"], row["fd_ci"]) == pytest.approx((1.0, 0.3 / np.sqrt(3)))


def test_a_seed_that_is_not_done_is_told():
    frame = records_frame(
        [scored("a", 0, 3.0), make("b", "failed", "no disk").model_copy(update={"seed": 1})]
    )
    (row,) = rows_of(seed_means(frame, ["fd"], ["bytes"]))
    assert (row["fd"], row["fd_std"], row["seeds"], row["seeds_done"]) == (3.0, None, 2, 1)
    assert (row["status"], row["reason"]) == ("failed", "seed 1: no disk")
