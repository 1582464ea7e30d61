# CORAL's image: docker build -t coral . Then compose.yaml, or docs/deploy.md.
# Written on a machine without a container engine, so it was never built; a test compares it with Makefile and settings.
FROM python:3.11-slim-bookworm

# make installs; pg_dump and pg_restore are for `coral backup` with PostgreSQL.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends make postgresql-client \
 && rm -rf /var/lib/apt/lists/*
RUN useradd --system --create-home --home-dir /srv/coral coral \
 && install --directory --owner coral --mode 0700 /srv/coral/data

# The pinned packages, by their SHA-256, the embedded models and CORAL. Without a GPU, name the index of PyTorch's CPU builds
# and save several gigabytes: docker build --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /opt/coral
COPY . .
RUN PIP_NO_CACHE_DIR=1 make .venv/.program
ENV PATH=/opt/coral/.venv/bin:$PATH

USER coral
WORKDIR /srv/coral
ENV CORAL_DATA_DIR=/srv/coral/data CORAL_BIND=0.0.0.0:8000 CORAL_LOG_FORMAT=json
VOLUME /srv/coral/data
EXPOSE 8000
# The first start brings the database up to date.
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=8)"]
CMD ["coral", "up"]
