# Every command of consumer, and `run` unless another is named; docs/container.md tells how to use it.
#
#   docker build -t consumer:gpu --build-arg EXTRAS=gpu .
#   docker run --env-file .env --gpus all --stop-timeout 40 -v models:/models consumer:gpu

ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm


# What the worker needs, without the worker: built again only when pyproject.toml or constraints.txt have changed.
FROM ${PYTHON_IMAGE} AS dependencies
# Extras of pyproject.toml, separated by commas: gpu for torch and diffusers.
ARG EXTRAS=
# Another index for torch, such as https://download.pytorch.org/whl/cpu.
ARG TORCH_INDEX=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/consumer
WORKDIR /src
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    case ",${EXTRAS}," in \
      *,gpu,*) /opt/consumer/bin/pip install -q -c constraints.txt ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} torch ;; \
    esac
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -c 'import sys, tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
extras = [line for extra in sys.argv[1].split(",") if extra for line in project["optional-dependencies"][extra]]; \
print(*project["dependencies"], *extras, sep="\n")' "${EXTRAS}" > requirements.txt \
    && /opt/consumer/bin/pip install -q -c constraints.txt -r requirements.txt


FROM ${PYTHON_IMAGE} AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/build
WORKDIR /src
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/build/bin/pip install -q -c constraints.txt hatchling
COPY README.md LICENSE ./
COPY sql ./sql
COPY migrations ./migrations
COPY consumer ./consumer
RUN /opt/build/bin/pip wheel -q --no-deps --no-index --no-build-isolation --wheel-dir /wheels .


FROM ${PYTHON_IMAGE}
# tini is PID 1: it passes signals on and buries orphans. The slim image comes without the bytecode of Python's own
# modules, and nobody could write it later.
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && python -m compileall -q -x '/(test|tests|lib2to3|site-packages|dist-packages)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && groupadd --gid 10001 consumer \
    && useradd --uid 10001 --gid 10001 --create-home consumer \
    && install -d -o consumer -g consumer /models /work
# pip has compiled what it installed here.
COPY --from=dependencies /opt/consumer /opt/consumer
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    /opt/consumer/bin/pip install -q --no-cache-dir --no-deps --no-index /wheels/*.whl

ENV PATH=/opt/consumer/bin:${PATH} \
    HF_HOME=/models \
    CONSUMER_HEALTH_FILE=/tmp/consumer-health.json
USER 10001:10001
WORKDIR /work
STOPSIGNAL SIGTERM
# A model may be downloaded before the worker is ready, which takes a while.
HEALTHCHECK --interval=15s --timeout=10s --start-period=10m --retries=3 CMD ["consumer", "health"]
ENTRYPOINT ["tini", "--", "consumer"]
CMD ["run"]

ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="consumer" \
      org.opencontainers.image.description="A GPU worker for Supabase: a row goes into jobs, pictures come out." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
