"""Which video a name in a list means."""

from __future__ import annotations

from slowfast_finetune.labelling.matching import Matches, VideoNames

EXTENSIONS = (".avi", ".mp4")


def match(listed: list[str], videos: list[str]) -> Matches:
    return VideoNames(videos, EXTENSIONS).match(dict.fromkeys(listed, ()))


def test_folders_and_extensions_may_differ() -> None:
    found = match(["/data/x/a.avi", "./b.mp4", "C:\\v\\c.mp4"], ["k/a.mp4", "b.mp4", "v/c.mp4"])
    assert found.found == {
        "/data/x/a.avi": "k/a.mp4",
        "./b.mp4": "b.mp4",
        "C:\\v\\c.mp4": "v/c.mp4",
    }
    # b is where it is listed; the drive of c is none of the folder's.
    assert found.elsewhere == ["/data/x/a.avi", "C:\\v\\c.mp4"]


def test_the_nearest_folder_decides() -> None:
    videos = ["jump/001.mp4", "wave/001.mp4", "train/wave/002.mp4", "test/wave/002.mp4"]
    found = match(["x/jump/001.mp4", "wave/001.mp4", "wave/002.mp4"], videos)
    assert found.found == {"x/jump/001.mp4": "jump/001.mp4", "wave/001.mp4": "wave/001.mp4"}
    assert found.ambiguous == {"wave/002.mp4": ["test/wave/002.mp4", "train/wave/002.mp4"]}


def test_a_missing_video_takes_no_others() -> None:
    """jump/001 is not there; wave/001 is listed itself."""
    found = match(["jump/001.mp4", "wave/001.mp4"], ["wave/001.mp4"])
    assert found.found == {"wave/001.mp4": "wave/001.mp4"}
    assert found.missing == ["jump/001.mp4"]
    found = match(["jump/001.mp4", "wave/001.mp4"], ["001.mp4"])
    assert found.found == {}
    assert set(found.ambiguous) == {"jump/001.mp4", "wave/001.mp4"}


def test_the_same_extension_is_preferred() -> None:
    assert match(["a.avi"], ["a.avi", "a.mp4"]).found == {"a.avi": "a.avi"}
    assert match(["a"], ["a.avi", "a.mp4"]).ambiguous == {"a": ["a.avi", "a.mp4"]}


def test_names_with_dots_and_accents() -> None:
    assert match(["v1.2"], ["v1.2.mp4"]).found == {"v1.2": "v1.2.mp4"}
    # Listed as macOS writes é, in two characters.
    assert match(["cafe\u0301.mp4"], ["caf\u00e9.mp4"]).missing == []


def test_further_names_are_tried_in_order() -> None:
    names = VideoNames(["v_abc.mp4", "clip.mp4"], EXTENSIONS)
    found = names.match({"abc": ("v_abc",), "1a2b3c4d-clip.mp4": ("clip.mp4",)})
    assert found.found == {"abc": "v_abc.mp4", "1a2b3c4d-clip.mp4": "clip.mp4"}
