# latentpath on CUDA. Build: docker build -t latentpath .
# Run: docker run --rm --gpus all -v "$PWD/outputs:/work/outputs" -v /data:/data:ro latentpath run experiment=demo
FROM nvidia/cuda:12.8.1-base-ubuntu24.04

# The wheels of torch bring CUDA's libraries; the base image only has to connect to the driver of the host.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3.12 python3.12-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --user-group --uid 10001 latentpath \
    && python3.12 -m venv /opt/latentpath \
    && install -d -o latentpath -g latentpath /work /work/outputs /weights

# The locked dependencies come first, so that a change of the code does not install them again.
COPY requirements.lock /src/requirements.lock
RUN /opt/latentpath/bin/pip install --no-cache-dir --require-hashes --requirement /src/requirements.lock

COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
COPY conf /src/conf
RUN /opt/latentpath/bin/pip install --no-cache-dir --no-deps --no-build-isolation /src

USER 10001:10001
WORKDIR /work
# Nothing is downloaded or sent unless the user asks for it: -e HF_HUB_OFFLINE=0.
ENV PATH=/opt/latentpath/bin:$PATH \
    HF_HUB_OFFLINE=1 \
    WANDB_MODE=offline \
    LATENTPATH_WEIGHTS=/weights
VOLUME ["/work/outputs", "/weights"]
ENTRYPOINT ["latentpath"]
CMD ["--help"]
