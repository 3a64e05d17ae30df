# The image of beers: `beers service`, `beers bridge` and every other command of it.
#
#   docker build --tag beers:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .

# The Debian that the tests run on, with glibc, for which the wheels of grpcio, uvloop and psycopg2 are made; slim,
# since wheels bring what they need. 3.12 is in the middle of the Pythons that are supported.
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
WORKDIR /src
# What seldom changes comes first. Wheels alone: whatever has to be compiled would want a compiler.
COPY requirements/run.txt requirements/
RUN python -m venv --without-pip /opt/beers \
    && python -m pip --python /opt/beers/bin/python install --no-cache-dir --no-compile --no-input \
        --require-hashes --only-binary :all: --requirement requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY beers_cli beers_cli/
COPY beers_runtime beers_runtime/
COPY beers_service beers_service/
COPY grpc_bridge grpc_bridge/
# setuptools, which builds it, is one of those locked above: nothing is fetched. Bytecode is made here, since nobody can
# write it later, and is not compared with its source at each start.
RUN python -m pip --python /opt/beers/bin/python install --no-cache-dir --no-compile --no-input \
        --no-index --no-deps --no-build-isolation . \
    && /opt/beers/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/beers/lib

FROM python:${PYTHON_VERSION}-slim-bookworm
# The base brings no bytecode of the standard library: without it a start takes more than twice the processor's time.
RUN python -m compileall -q --invalidation-mode unchecked-hash \
        -x '/(site-packages|dist-packages|ensurepip|idlelib|lib2to3|pydoc_data|test|tkinter|turtledemo)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && groupadd --gid 10001 beers \
    && useradd --uid 10001 --gid beers --no-log-init --no-create-home --home-dir /var/lib/beers \
        --shell /usr/sbin/nologin beers \
    && install --directory --owner beers --group beers --mode 0750 /var/lib/beers
COPY config.yaml /etc/beers/
COPY --from=build /opt/beers /opt/beers
ENV PATH=/opt/beers/bin:$PATH \
    BEERS_CONFIG=/etc/beers/config.yaml \
    PYTHONDONTWRITEBYTECODE=1
# With SQLite var/beers.db lies in here, on a volume. Nothing else of it is written, so that the rest can be read-only.
WORKDIR /var/lib/beers
# By number: of a name Kubernetes cannot tell that it is not root.
USER 10001:10001
EXPOSE 8000
# Of a bridge: whether it works itself, whatever else is away, for there are those who replace what is not healthy. A
# service and a migration take calls at no port, and are well as long as they run.
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s --retries=3 \
    CMD ["sh", "-c", "! grep -qs '[b]ridge' /proc/[0-9]*/cmdline || \
        BEERS_ADDRESS=${BEERS_ADDRESS:-127.0.0.1:${PORT:-8000}} exec beers health --liveness"]
ENTRYPOINT ["beers"]
CMD ["bridge"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="beers" \
      org.opencontainers.image.description="A catalogue of beers: Nameko, an event log, and a gRPC bridge" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
