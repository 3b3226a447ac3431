# An image for clusters, from the same lock. Datasets and results stay in your folder:
#   docker build -t marscf .
#   docker run --gpus all -v "$PWD:/work" marscf make reproduce
# Apptainer: apptainer build marscf.sif docker-daemon://marscf:latest
#            apptainer exec --nv --bind "$PWD:/work" --pwd /work marscf.sif make reproduce
FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make g++ \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /tmp/
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r /tmp/requirements.lock
# The package is installed from /work: a checkout that is mounted there takes its place.
WORKDIR /work
COPY . .
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e . \
    && touch /opt/venv/.ready
ENV VENV=/opt/venv PATH=/opt/venv/bin:$PATH
CMD ["make"]
