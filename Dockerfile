# Two images that run `rapt`, as process 1 and as a user who is not root:
#   docker build --target cpu  -t rapt:cpu .     Debian 13 with its own libtorch and Go
#   docker build --target cuda -t rapt:cuda .    PyTorch's CUDA images; run with --gpus all
# They work with a read-only root, any user id (group 0) and no network. What is written goes to /workspace/runs, decoded images to
# /workspace/.cache or, where that cannot be written, to /tmp. docs/jobs.md has the docker commands, scripts/container_replay.sh a proof
# for machines without a container engine.

ARG DEBIAN=trixie-20251117-slim
ARG GOLANG=1.26.11-bookworm
ARG PYTORCH=2.11.0-cuda13.0-cudnn9

# ---- cpu ----
FROM debian:${DEBIAN} AS cpu-build
# Debian's own Go is too old, and fetches this one.
ENV GOTOOLCHAIN=go1.26.11
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/rapt
COPY build.sh ./
RUN ./build.sh deps
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# Whoever made the clone may have had a umask that hides files from others.
RUN ./build.sh && chmod -R go+rX bin cgo/lib configs

FROM debian:${DEBIAN} AS cpu
LABEL org.opencontainers.image.title="rapt" \
      org.opencontainers.image.description="Adversarial training with ADMM pruning over libtorch, CPU" \
      org.opencontainers.image.base.name="docker.io/library/debian:trixie-slim"
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libtorch2.6 libopenblas0-pthread && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --no-create-home --home-dir /workspace --uid 1001 --gid 0 rapt && \
    install -d -o 1001 -g 0 -m 0775 /workspace /workspace/runs /workspace/data /workspace/.cache
COPY --from=cpu-build /opt/rapt/bin/rapt /opt/rapt/bin/rapt
COPY --from=cpu-build /opt/rapt/cgo/lib/libcgotorch.so /opt/rapt/bin/lib/libcgotorch.so
COPY --from=cpu-build /opt/rapt/configs /opt/rapt/configs
# An id without an entry in /etc/passwd has no home of its own.
ENV PATH=/opt/rapt/bin:$PATH HOME=/workspace XDG_CACHE_HOME=/workspace/.cache RAPT_DATA_DIR=/workspace/data
# By number, so that Kubernetes can see that it is not root.
USER 1001:0
WORKDIR /workspace
ENTRYPOINT ["rapt"]

# ---- cuda ----
FROM golang:${GOLANG} AS go

FROM pytorch/pytorch:${PYTORCH}-devel AS cuda-build
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY --from=go /usr/local/go /usr/local/go
ENV PATH=$PATH:/usr/local/go/bin
WORKDIR /opt/rapt
COPY build.sh ./
RUN ./build.sh deps
COPY go.mod go.sum ./
RUN GOTOOLCHAIN=local go mod download
COPY . .
RUN ./build.sh && chmod -R go+rX bin cgo/lib configs

# The runtime image has the same PyTorch in the same place, which is where the native library looks for it.
FROM pytorch/pytorch:${PYTORCH}-runtime AS cuda
LABEL org.opencontainers.image.title="rapt" \
      org.opencontainers.image.description="Adversarial training with ADMM pruning over libtorch, CUDA" \
      org.opencontainers.image.base.name="docker.io/pytorch/pytorch"
RUN useradd --no-create-home --home-dir /workspace --uid 1001 --gid 0 rapt && \
    install -d -o 1001 -g 0 -m 0775 /workspace /workspace/runs /workspace/data /workspace/.cache
COPY --from=cuda-build /opt/rapt/bin/rapt /opt/rapt/bin/rapt
COPY --from=cuda-build /opt/rapt/cgo/lib/libcgotorch.so /opt/rapt/bin/lib/libcgotorch.so
COPY --from=cuda-build /opt/rapt/configs /opt/rapt/configs
ENV PATH=/opt/rapt/bin:$PATH HOME=/workspace XDG_CACHE_HOME=/workspace/.cache RAPT_DATA_DIR=/workspace/data
# All libraries are found, or there is no image.
RUN rapt version
USER 1001:0
WORKDIR /workspace
ENTRYPOINT ["rapt"]
