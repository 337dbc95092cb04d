# A server for one model, on a CPU. From the project's folder:
#   docker build -f docker/serve.Dockerfile -t slowfast-serve .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/models:/models:ro" slowfast-serve
# There is no password: publish the port on 127.0.0.1, or put a proxy with a login in front of it.
FROM python:3.12-slim

WORKDIR /app
COPY LICENSE README.md constraints.txt pyproject.toml ./
# torch before the sources, so that an edit of them does not download it again.
RUN pip install --no-cache-dir --constraint constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu torch torchvision
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu '.[serve,explain]'

RUN useradd --create-home slowfast
USER slowfast
WORKDIR /home/slowfast
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
STOPSIGNAL SIGINT
ENTRYPOINT ["slowfast", "serve", "--host", "0.0.0.0", "--checkpoint", "/models/best.pt"]
