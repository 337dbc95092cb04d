# The environment of the pipeline, with torch for CUDA. The project itself is mounted, so that its git
# and DVC state, its clip store and its results stay outside the container. From the project's folder:
#   docker build -f docker/train.Dockerfile -t slowfast-train .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/work" slowfast-train
# Videos outside the project need a further -v "/path/to/videos:/path/to/videos:ro". Without a GPU,
# leave out --gpus all.
FROM python:3.12-slim

# git for DVC and for the commit in the checkpoint; the compiler for runtime.compile.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY LICENSE README.md constraints.txt pyproject.toml ./
RUN pip install --no-cache-dir --constraint constraints.txt torch torchvision
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt '.[explain,tensorboard]'

# The mounted sources come before the installed ones. git refuses a folder of another user unless told.
ENV PYTHONPATH=/work/src HOME=/tmp
RUN git config --system --add safe.directory /work
WORKDIR /work
CMD ["dvc", "repro"]
