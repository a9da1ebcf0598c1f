#!/bin/sh
# mosquitto in a container: it reads its files again when an agent joins, is revoked, or the broker's
# certificate is renewed. Outside of containers systemd does that: joulemark-broker.path.
# Any POSIX shell will do. JOULEMARK_BROKER names the folder that 'joulemark broker config' wrote.
set -eu
folder=${JOULEMARK_BROKER:-/etc/mosquitto/joulemark}

while [ ! -s "$folder/mosquitto.conf" ]; do
    echo "$folder/mosquitto.conf is not there: run 'joulemark broker config'. Looking again in 10 s." >&2
    sleep 10
done

# The revocation list is written before the access list.
state() { cksum "$folder/acl" "$folder/crl.pem" "$folder/broker.pem" 2>/dev/null || true; }

mosquitto -c "$folder/mosquitto.conf" &
broker=$!
trap 'kill -TERM "$broker" 2>/dev/null' TERM INT

before=$(state)
while kill -0 "$broker" 2>/dev/null; do
    sleep "${JOULEMARK_LOOK_S:-2}" &
    wait $! || true # a signal ends the wait at once
    now=$(state)
    if [ "$now" != "$before" ]; then
        before=$now
        kill -HUP "$broker" 2>/dev/null || true
    fi
done
wait "$broker"
