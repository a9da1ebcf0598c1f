# The agent for amd64 and arm64. Build in the repository's folder:
#   docker build -f deploy/docker/agent.Dockerfile -t joulemark-agent:0.1.0 .
# Debian, not Alpine: numba has no wheel for musl. Every package comes as a wheel, by its hash.
ARG BASE=python:3.13.7-slim-bookworm

FROM ${BASE} AS build
WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY deploy/docker/requirements-agent.txt deploy/docker/requirements-build.txt deploy/docker/
RUN python -m venv /opt/joulemark && /opt/joulemark/bin/pip install --only-binary=:all: --require-hashes -r deploy/docker/requirements-agent.txt
RUN python -m venv /opt/build && /opt/build/bin/pip install --only-binary=:all: --require-hashes -r deploy/docker/requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY agent agent
COPY gateway gateway
COPY configs configs
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . && /opt/joulemark/bin/pip install --no-deps --no-index /wheels/*.whl

FROM ${BASE}
RUN groupadd --gid 1883 joulemark && useradd --uid 1883 --gid 1883 --no-create-home --home-dir /var/lib/joulemark joulemark && install -d -o joulemark -g joulemark -m 700 /var/lib/joulemark /var/cache/joulemark /run/joulemark && install -d /etc/joulemark
COPY --from=build /opt/joulemark /opt/joulemark
# Machine code for any processor of the kind, so that the image need not compile where it runs.
ENV PATH=/opt/joulemark/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/var/cache/joulemark JOULEMARK_STATE_DIR=/var/lib/joulemark JOULEMARK_ALIVE_FILE=/run/joulemark/alive
USER 1883:1883
RUN joulemark agent warmup
VOLUME ["/var/lib/joulemark"]
# Touched once a second while every line, the disk and the loop go on.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 CMD ["sh", "-c", "find /run/joulemark/alive -mmin -3 | grep -q ."]
ENTRYPOINT ["joulemark"]
CMD ["agent", "run", "-c", "/etc/joulemark/site.yaml"]
