"""python run_onnx.py best.onnx video.mp4; needs onnxruntime, av and numpy, not this project."""

import json
import sys

import onnxruntime
from clip import read_clip

model = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = json.loads(model.get_modelmeta().custom_metadata_map["slowfast"])
clip = read_clip(sys.argv[2], about["preprocessing"])
(probabilities,) = model.run(None, {"clips": clip})[0].tolist()
for name, probability in zip(about["class_names"], probabilities, strict=True):
    print(f"{probability:.6f} {name}")
