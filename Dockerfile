# Targets: operator (no numba, no ZeroMQ) | agent (no kopf) | agent-gpu (CUDA run time in wheels).
# Dependencies and our own code are two layers, so a change of code moves a few hundred kilobytes. What uv notes
# of the build (when, from where) is taken out: the same sources give the same bytes.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS uv
ARG UV_VERSION=0.13.9
# a mirror and its certificate come from outside, if at all
ARG UV_DEFAULT_INDEX
ARG PIP_INDEX_URL
ARG SSL_CERT_FILE
ARG PIP_CERT
# byte code names its source by hash, not by time: an image bears one moment everywhere, so that it can be built again
ENV UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    UV_PROJECT_ENVIRONMENT=/opt/qts PATH=/opt/uv/bin:/usr/local/bin:/usr/bin:/bin
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check uv==${UV_VERSION}
WORKDIR /src
# the workspace's manifests decide the dependencies; sources come later
COPY pyproject.toml uv.lock ./
COPY core/pyproject.toml core/
COPY messaging/pyproject.toml messaging/
COPY agents/pyproject.toml agents/
COPY operator/pyproject.toml operator/
COPY cli/pyproject.toml cli/

FROM uv AS operator-needs
RUN uv sync --frozen --package qts-operator --no-dev --no-install-workspace --python python3

FROM operator-needs AS operator-build
COPY core/src core/src
COPY operator/src operator/src
RUN uv sync --frozen --package qts-operator --no-dev --no-editable \
    && mkdir /opt/app && mv /opt/qts/lib/python3*/site-packages/qts_* /opt/app/ \
    && rm /opt/app/*.dist-info/uv_cache.json /opt/app/*.dist-info/RECORD

FROM uv AS agent-needs
RUN uv sync --frozen --package qts-agents --no-dev --no-install-workspace --python python3

FROM agent-needs AS agent-build
COPY core/src core/src
COPY messaging/src messaging/src
COPY agents/src agents/src
RUN uv sync --frozen --package qts-agents --no-dev --no-editable \
    && mkdir /opt/app && mv /opt/qts/lib/python3*/site-packages/qts_* /opt/app/ \
    && rm /opt/app/*.dist-info/uv_cache.json /opt/app/*.dist-info/RECORD

FROM uv AS agent-gpu-needs
RUN uv sync --frozen --package qts-agents --extra gpu --no-dev --no-install-workspace --python python3

FROM ${PYTHON_IMAGE} AS runtime
# nothing is written below the root: no byte code, caches on an emptyDir, any uid
ENV PATH=/opt/qts/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/opt/app PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /tmp

FROM runtime AS operator
COPY --from=operator-needs /opt/qts /opt/qts
COPY --from=operator-build /opt/app /opt/app
USER 10001:10001
EXPOSE 8080 9464
CMD ["python", "-m", "qts_operator"]

FROM runtime AS agent-runtime
ENV NUMBA_CACHE_DIR=/var/cache/qts QTS_STATE=/var/lib/qts
RUN mkdir -p /var/cache/qts /var/lib/qts && chown 10001:10001 /var/cache/qts /var/lib/qts
EXPOSE 8080 9464
CMD ["python", "-m", "qts_agents"]

FROM agent-runtime AS agent
COPY --from=agent-needs /opt/qts /opt/qts
COPY --from=agent-build /opt/app /opt/app
# compiled for any processor with AVX2 and FMA; a process copies them into its own cache (docs/decisions/0029);
# the order of a set decides where numba counts references, so it is the same in every build
ENV QTS_KERNELS=/opt/kernels
RUN mkdir /opt/kernels && PYTHONHASHSEED=0 python -m qts_agents.baked /opt/kernels
USER 10001:10001

FROM agent-runtime AS agent-gpu
COPY --from=agent-gpu-needs /opt/qts /opt/qts
COPY --from=agent-build /opt/app /opt/app
# the same numba from the same lock file reads the same kernels: what the device does not compute, the processor does
ENV QTS_KERNELS=/opt/kernels
COPY --from=agent /opt/kernels /opt/kernels
USER 10001:10001
