# Redis as Debian packages it. A BASE that has redis-server already is used as it is.
ARG BASE=docker.io/library/debian:bookworm-slim
FROM ${BASE}
RUN command -v redis-server >/dev/null \
 || (apt-get update && apt-get install --yes --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/*)
USER 10001:10001
ENTRYPOINT ["/usr/bin/redis-server"]
