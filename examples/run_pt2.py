"""python run_pt2.py best.pt2 video.mp4; needs torch, av and numpy, not this project."""

import json
import sys

import torch
from clip import read_clip

texts = {"slowfast.json": ""}
model = torch.export.load(sys.argv[1], extra_files=texts).module()
about = json.loads(texts["slowfast.json"])
clip = torch.from_numpy(read_clip(sys.argv[2], about["preprocessing"]))
with torch.no_grad():
    (probabilities,) = model(clip).tolist()
for name, probability in zip(about["class_names"], probabilities, strict=True):
    print(f"{probability:.6f} {name}")
