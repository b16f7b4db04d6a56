# One image for the control plane (`picket`) and for the sidecar (`picket-sidecar`).
# docker build -t picket:0.1.0 .    (or: buildah bud -t picket:0.1.0 .)
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
# Installed by a pip that stays behind: /opt/picket has none.
RUN python3 -m venv /pip && python3 -m venv --without-pip /opt/picket
COPY requirements-image.lock ./
RUN /pip/bin/python -m pip --python /opt/picket/bin/python install --no-cache-dir --no-compile --disable-pip-version-check \
      --only-binary :all: --require-hashes --requirement requirements-image.lock
RUN /pip/bin/python -m pip install --no-cache-dir --disable-pip-version-check --quiet "setuptools>=80"
COPY pyproject.toml README.md LICENSE ./
COPY controlplane controlplane
COPY sidecar sidecar
COPY protos protos
RUN /pip/bin/python -m pip wheel --no-deps --no-build-isolation --no-cache-dir --disable-pip-version-check --wheel-dir /wheel . \
 && /pip/bin/python -m pip --python /opt/picket/bin/python install --no-deps --no-compile --no-cache-dir --disable-pip-version-check \
      /wheel/*.whl
# Compiled here, for the root is read-only where it runs; checked by nothing, so the same source makes the same files.
RUN /opt/picket/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/picket/lib

FROM ${BASE}
ARG VERSION=0.1.0
ARG SOURCE_DATE_EPOCH=0
LABEL org.opencontainers.image.title="Picket" \
      org.opencontainers.image.description="Control plane and sidecar of Picket, with Envoy" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# nftables is for the sidecar's first step; what installs things does not stay.
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends nftables \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
 && rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip \
 && mkdir -p /var/lib/picket && chown 65532:65532 /var/lib/picket
COPY --from=build /opt/picket /opt/picket
ENV PATH=/opt/picket/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PICKET_DATA=/var/lib/picket
# What is in this image, as SPDX: Debian's packages, Python's, and Envoy.
COPY .ci/sbom /tmp/sbom
RUN mkdir -p /usr/share/picket && SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} python /tmp/sbom > /usr/share/picket/sbom.spdx.json && rm /tmp/sbom
USER 65532:65532
VOLUME /var/lib/picket
EXPOSE 7600 7601 7602
# Of a control plane; in a cluster kubelet looks itself, at both.
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["picket", "wait", "--timeout", "5"]
CMD ["picket", "controlplane"]
