"""Film one video: cast the person, rehearse, plan the shot, draw and encode the frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slowfast_finetune.demo.casting import Person, cast_person
from slowfast_finetune.demo.catalog import VideoName
from slowfast_finetune.demo.drawing import draw_figure
from slowfast_finetune.demo.encoding import write_video
from slowfast_finetune.demo.performance import Performance, rehearse
from slowfast_finetune.demo.randomness import named_generator
from slowfast_finetune.demo.room import draw_chair, paint_room
from slowfast_finetune.demo.shot import SUPERSAMPLING, Shot, plan_shot


def film_video(name: VideoName, *, folder: Path, seed: int) -> None:
    """Write one video of the data set; the folder of its class must exist."""
    person = cast_person(rng=named_generator(seed, "person", name.person))
    rng = named_generator(seed, name.class_name, name.person, name.letter)
    performance = rehearse(name.class_name, rng=rng)
    shot = plan_shot(performance, rng=rng)
    write_video(
        folder / name.path,
        film(performance, shot, person=person, rng=rng),
        frame_rate=performance.frame_rate,
        size=shot.size,
        crf=shot.crf,
    )


def film(
    performance: Performance, shot: Shot, *, person: Person, rng: np.random.Generator
) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video, each uint8 (H, W, 3)."""
    camera, (width, height) = shot.camera, (side * SUPERSAMPLING for side in shot.size)
    # One picture of all that the camera sees; each frame is cut out of it.
    origin_x, origin_y = shot.origins.max(axis=0).tolist()
    across, down = np.ptp(shot.origins, axis=0).tolist()
    room = paint_room(
        (width + across, height + down), unit=camera.pixels_per_height, floor_y=origin_y, rng=rng
    )
    draw_chair(
        room, performance, person=person, camera=camera, origin=(origin_x, origin_y), rng=rng
    )
    joints = performance.joints(person.body) + performance.travel()[:, None, :]
    for pose, (x, y) in zip(joints, shot.origins.tolist(), strict=True):
        left, top = origin_x - x, origin_y - y
        picture = room.crop((left, top, left + width, top + height))
        draw_figure(picture, pose, person=person, camera=camera, origin=(x, y))
        frame = np.asarray(picture.reduce(SUPERSAMPLING))
        yield (frame * shot.light).clip(0, 255).astype(np.uint8)
