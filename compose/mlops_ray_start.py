"""What `ray start` shall do otherwise than its options can say (RAY_START_HOOK).

Ray starts its client server (ray://) whenever gRPC is installed and has no
option against it. We talk to the dashboard, so it is only a listener and 70 MB.
"""


def start(params, head):
    params.ray_client_server_port = None
