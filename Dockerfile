# Two images that run `rapt` as a user who is not root:
#   docker build --target cpu  -t rapt:cpu .     Debian 13 with its own libtorch and Go
#   docker build --target cuda -t rapt:cuda .    PyTorch's CUDA images; run with --gpus all
# Results are written under /workspace: mount a folder there that uid 1001 may write to.

ARG PYTORCH=2.11.0-cuda13.0-cudnn9

# ---- cpu ----
FROM debian:trixie-slim AS cpu-build
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/rapt
COPY build.sh ./
RUN ./build.sh deps
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN ./build.sh

FROM debian:trixie-slim AS cpu
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libtorch2.6 libopenblas0-pthread && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --create-home --uid 1001 rapt && install -d -o rapt /workspace
COPY --from=cpu-build /opt/rapt/bin/rapt /opt/rapt/bin/rapt
COPY --from=cpu-build /opt/rapt/cgo/lib/libcgotorch.so /opt/rapt/bin/lib/libcgotorch.so
COPY --from=cpu-build /opt/rapt/configs /opt/rapt/configs
ENV PATH=/opt/rapt/bin:$PATH
USER rapt
WORKDIR /workspace
ENTRYPOINT ["rapt"]

# ---- cuda ----
FROM pytorch/pytorch:${PYTORCH}-devel AS cuda-build
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY --from=golang:1.24-bookworm /usr/local/go /usr/local/go
ENV PATH=$PATH:/usr/local/go/bin
WORKDIR /opt/rapt
COPY build.sh ./
RUN ./build.sh deps
COPY go.mod go.sum ./
RUN GOTOOLCHAIN=local go mod download
COPY . .
RUN ./build.sh

# The runtime image has the same PyTorch in the same place, which is where the native library looks for it.
FROM pytorch/pytorch:${PYTORCH}-runtime AS cuda
RUN useradd --create-home --uid 1001 rapt && install -d -o rapt /workspace
COPY --from=cuda-build /opt/rapt/bin/rapt /opt/rapt/bin/rapt
COPY --from=cuda-build /opt/rapt/cgo/lib/libcgotorch.so /opt/rapt/bin/lib/libcgotorch.so
COPY --from=cuda-build /opt/rapt/configs /opt/rapt/configs
ENV PATH=/opt/rapt/bin:$PATH
USER rapt
WORKDIR /workspace
ENTRYPOINT ["rapt"]
