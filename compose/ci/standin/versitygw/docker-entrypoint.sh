#!/bin/sh
# Arguments go to the gateway; without any, VGW_BACKEND and VGW_BACKEND_ARG say
# what it serves, as in the official image.
set -eu
if [ $# -eq 0 ]; then
	set -- "${VGW_BACKEND:?is not set}" ${VGW_BACKEND_ARG:+"$VGW_BACKEND_ARG"}
fi
exec /usr/local/bin/versitygw "$@"
