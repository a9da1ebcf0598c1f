# The collector for amd64 and arm64. Build in the repository's folder:
#   docker build -f deploy/docker/collector.Dockerfile -t joulemark-collector:0.1.0 .
# Debian, not Alpine: numba has no wheel for musl. Every package comes as a wheel, by its hash.
ARG BASE=python:3.13.7-slim-bookworm

FROM ${BASE} AS build
WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY deploy/requirements.txt deploy/
COPY deploy/docker/requirements-build.txt deploy/docker/
RUN python -m venv /opt/joulemark && /opt/joulemark/bin/pip install --only-binary=:all: --require-hashes -r deploy/requirements.txt
RUN python -m venv /opt/build && /opt/build/bin/pip install --only-binary=:all: --require-hashes -r deploy/docker/requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY agent agent
COPY gateway gateway
COPY configs configs
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . && /opt/joulemark/bin/pip install --no-deps --no-index /wheels/*.whl

FROM ${BASE}
RUN groupadd --gid 1883 joulemark && useradd --uid 1883 --gid 1883 --no-create-home --home-dir /var/lib/joulemark joulemark && install -d -o joulemark -g joulemark -m 700 /var/lib/joulemark /var/cache/joulemark /run/joulemark /var/backups/joulemark /etc/mosquitto/joulemark && install -d /etc/joulemark
COPY --from=build /opt/joulemark /opt/joulemark
# Machine code for any processor of the kind, so that the image need not compile where it runs.
ENV PATH=/opt/joulemark/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/var/cache/joulemark JOULEMARK_COLLECTOR_STATE_DIR=/var/lib/joulemark JOULEMARK_ALIVE_FILE=/run/joulemark/alive
USER 1883:1883
RUN joulemark collector warmup
VOLUME ["/var/lib/joulemark"]
# Touched once a second while messages, series, log and pages go on.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 CMD ["sh", "-c", "find /run/joulemark/alive -mmin -3 | grep -q ."]
ENTRYPOINT ["joulemark"]
CMD ["collector", "run", "-c", "/etc/joulemark/collector.yaml"]
