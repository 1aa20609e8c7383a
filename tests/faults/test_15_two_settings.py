"""Two settings in one folder have two places, and what is replaced is told and kept."""


def files(folder):
    parts = ("records", "samples", "allocations", "traces")
    paths = (p for part in parts for p in (folder / part).rglob("*") if p.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def test_other_steps_in_one_folder_leave_all_records_and_samples(kept):
    before = files(kept.folder)
    code, out, _ = kept.run("--steps", 3)
    assert (code, "done before" in out) == (0, False)
    after = files(kept.folder)
    assert {path: after[path] for path in before} == before
    assert len(list((kept.folder / "records").iterdir())) == 4
    assert (kept.run()[1] + kept.run("--steps", 3)[1]).count("done before") >= 4


def test_more_images_begin_with_the_samples_that_are_there(kept):
    before = files(kept.folder)
    assert kept.run("--images", 12)[0] == 0
    after = files(kept.folder)
    assert {path: after[path] for path in before} == before
    first = kept.folder.glob("samples/*searched*/shard-00000000.npz")
    assert len({path.stat().st_ino for path in first}) == 1  # linked, not sampled again
    assert len(list(kept.folder.glob("samples/*searched*/shard-00000008.npz"))) == 1


def test_a_recipe_changed_under_its_name_is_told_and_the_old_record_kept(kept, tmp_path):
    old = kept.only("records/*searched*").read_bytes()
    suite = tmp_path / "changed.yaml"
    suite.write_text(
        kept.command[1].read_text(encoding="utf-8").replace("greedy", "ilp"), encoding="utf-8"
    )
    kept.command[1] = suite
    code, out, _ = kept.run()
    assert (code, out.count("another recipe of this name (searcher)")) == (0, 1)
    (aside,) = (kept.folder / "replaced").iterdir()
    assert aside.read_bytes() == old


def test_an_older_name_of_the_same_job_gives_way(kept):
    from mpqbench.records.store import RecordStore

    store, path = RecordStore(kept.folder), kept.only("records/*searched*")
    record = store.read(path.stem)
    plain = record.job.rpartition("__p")[0]
    path.unlink()
    store.write(record.model_copy(update={"job": plain, "fingerprint": "older"}))
    assert kept.run()[0] == 0
    assert [p.stem for p in store.paths() if "searched" in p.stem] == [record.job]
    assert len(list((kept.folder / "replaced").iterdir())) == 1
