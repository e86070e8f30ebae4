"""What somebody edited in build/ is never lost, and `make clean` removes only what the tools wrote."""

import pytest

import build_folder


def test_an_edited_copy_is_set_aside_not_lost(build, capfd):
    target = build_folder.put("a.ipynb", "first")
    build_folder.put("a.ipynb", "second")
    assert [p.name for p in build.glob("*.ipynb")] == ["a.ipynb"]
    target.write_text("a student's work")
    build_folder.put("a.ipynb", "third")
    (mine,) = (p for p in build.glob("*.ipynb") if p.name != "a.ipynb")
    assert mine.read_text() == "a student's work"
    assert target.read_text() == "third"
    assert f"your version is now {mine.name}" in capfd.readouterr().err
    target.write_text("again, in the same second")
    build_folder.put("a.ipynb", "fourth")
    assert sorted(p.read_text() for p in build.glob("a.mine*.ipynb")) == [
        "a student's work",
        "again, in the same second",
    ]
    with pytest.raises(SystemExit, match=f"files that are yours: .*{mine.name}"):
        build_folder.clean()
    assert mine.exists()
    for own in build.glob("a.mine*.ipynb"):
        own.unlink()
    build_folder.clean()
    assert not build.exists()
    build_folder.clean()  # nothing to do is no error


@pytest.mark.parametrize(
    "name",
    [
        "student/week1/mine.ipynb",
        "student/notes.txt",
        "student/b.html",
        "model.params",
        "slides/00_annotated.pdf",
        ".hidden",
    ],
)
def test_clean_keeps_what_no_tool_wrote(name, build):
    build_folder.put("a.ipynb", "ours")
    build_folder.put("student/b.ipynb", "ours")
    for ours in (
        "site/index.html",
        "site/_static/a.js",
        "slides/index.html",
        "slides/02_batch_norm_from_scratch.pdf",
        "screenshots/lab-01.png",
    ):
        (build / ours).parent.mkdir(parents=True, exist_ok=True)
        (build / ours).write_text("ours")
    (build / name).parent.mkdir(parents=True, exist_ok=True)
    (build / name).write_text("mine")
    with pytest.raises(SystemExit, match=f"files that are yours: {name}$"):
        build_folder.clean()
    assert (build / name).read_text() == "mine"
    (build / name).unlink()
    build_folder.clean()
    assert not build.exists()


def test_without_a_readable_record_every_notebook_counts_as_edited(build):
    target = build_folder.put("a.ipynb", "ours")
    (build / build_folder.WRITTEN).write_text("{half")
    assert build_folder.edited() == [target]
    with pytest.raises(SystemExit, match="files that are yours: a.ipynb"):
        build_folder.clean()


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_what_was_interrupted_while_it_was_written_does_not_count_as_edited(writes, build, monkeypatch):
    target = build_folder.put("a.ipynb", "first")
    real, left = build_folder.write, [writes]

    def interrupted(path, text):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(path, text)

    monkeypatch.setattr(build_folder, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_folder.put("a.ipynb", "second")
    monkeypatch.setattr(build_folder, "write", real)
    assert target.read_text() == ("second" if writes == 2 else "first")
    assert build_folder.edited() == []
    build_folder.put("a.ipynb", "third")
    assert [p.name for p in build.glob("*.ipynb")] == ["a.ipynb"]
    assert len(build_folder.read_record(build_folder.WRITTEN, build)["a.ipynb"].split()) == 1


def test_clean_says_so_when_it_cannot(build, monkeypatch):
    build_folder.put("a.ipynb", "ours")
    monkeypatch.setattr(build_folder.shutil, "rmtree", lambda path: (_ for _ in ()).throw(PermissionError("no")))
    with pytest.raises(SystemExit, match="build/ could not be removed: no"):
        build_folder.clean()
