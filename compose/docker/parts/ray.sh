#!/bin/sh
# A node of the Ray cluster: "head", which also runs Serve's proxy, or "worker".
# Replicas load their models with the credentials in this environment.
set -eu
rm -rf /tmp/ray # of a node that died in this container; sessions do not outlive their head
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH=/run/secrets/ray
export RAY_USAGE_STATS_ENABLED=0
export RAY_enable_worker_prestart=0
export RAY_prestart_worker_first_driver=0
export RAY_DASHBOARD_STARTUP_TIMEOUT_S=200
export RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT=120
export MLFLOW_TRACKING_URI=http://mlflow:5000
export MLFLOW_TRACKING_USERNAME=admin
export MLFLOW_TRACKING_PASSWORD="$(cat /run/secrets/mlflow)"
export MLFLOW_DISABLE_TELEMETRY=true

common="--block --disable-usage-stats --log-color=false --include-log-monitor=false
	--object-store-memory=${RAY_OBJECT_STORE_BYTES:-200000000} --num-cpus=${RAY_CPUS:-4}
	--dashboard-agent-listen-port=52365 --node-ip-address=$(hostname -i | cut -d' ' -f1)"
case $1 in
head)
	/usr/bin/python3 -I /opt/mlops/ray_serve.py &
	# shellcheck disable=SC2086
	exec ray start $common --head --port=6379 --include-dashboard=true --dashboard-host=0.0.0.0 --dashboard-port=8265 --no-monitor
	;;
worker)
	# shellcheck disable=SC2086
	exec ray start $common --address=ray-head:6379
	;;
esac
