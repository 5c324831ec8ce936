# syntax=docker/dockerfile:1
# The orchestrator in a container. `make image` builds it: the context is the folder with the wheel.
# BASE: any image with Python 3.11 or newer that can make virtual environments, such as Debian with python3-venv.
ARG BASE=python:3.13-slim-trixie
FROM ${BASE} AS build
# pip reads them: another index, or none and a folder of wheels
ARG PIP_INDEX_URL
ARG PIP_NO_INDEX
COPY *.whl /wheels/
RUN python3 -m venv /opt/worker-orchestrator \
 && /opt/worker-orchestrator/bin/pip install --no-cache-dir --no-compile --find-links /wheels worker-orchestrator \
 && /opt/worker-orchestrator/bin/pip uninstall --yes pip

FROM ${BASE}
COPY --from=build /opt/worker-orchestrator /opt/worker-orchestrator
# Whoever may use Docker's socket is root on the host. So the user gets that by the socket's group alone (--group-add).
RUN mkdir -m 0700 /var/lib/worker-orchestrator && chown 10001:10001 /var/lib/worker-orchestrator
ENV PATH=/opt/worker-orchestrator/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/var/lib/worker-orchestrator \
    ORCHESTRATOR_STATE_DIR=/var/lib/worker-orchestrator
USER 10001:10001
VOLUME /var/lib/worker-orchestrator
EXPOSE 9092
# /livez needs no token.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen(f'http://localhost:{os.environ.get(\"ORCHESTRATOR_PORT\", 9092)}/livez', timeout=4)"]
ENTRYPOINT ["orchestrator"]
CMD ["serve"]
