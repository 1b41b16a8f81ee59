#!/bin/bash
# Makes the databases at the first start, as the official image does: with
# POSTGRES_USER, POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, POSTGRES_DB and
# the *.sh and *.sql of /docker-entrypoint-initdb.d.
set -euo pipefail
if [ "${1:-}" != postgres ] || [ -s "$PGDATA/PG_VERSION" ]; then
	exec "$@"
fi
user=${POSTGRES_USER:-postgres}
password=${POSTGRES_PASSWORD:-}
[ -z "${POSTGRES_PASSWORD_FILE:-}" ] || password=$(cat "$POSTGRES_PASSWORD_FILE")
[ -n "$password" ] || { echo "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE" >&2; exit 1; }
chmod 700 "$PGDATA"
initdb --username "$user" --pwfile <(printf '%s\n' "$password") --auth-local trust --auth-host trust --encoding UTF8
echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
export PGUSER=$user PGDATABASE=${POSTGRES_DB:-$user} POSTGRES_USER=$user
[ "$PGDATABASE" = postgres ] || createdb --maintenance-db postgres "$PGDATABASE"
for f in /docker-entrypoint-initdb.d/*; do
	case $f in
	*.sh) . "$f" ;;
	*.sql) psql -v ON_ERROR_STOP=1 --no-password -f "$f" ;;
	esac
done
pg_ctl -D "$PGDATA" -m fast -w stop
echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
unset PGUSER PGDATABASE
exec "$@"
