"""Loaded by every Python process of Ray when it begins (it is on PYTHONPATH).

A replica of Ray Serve opens a port for other deployments on all interfaces and
has no setting against it (ray/serve/_private/replica.py, "[::]:0"). Everything
that Ray binds with this function is for the node's own address, 127.0.0.1.
"""

import sys


class Loopback:
    name = "ray._common.tls_utils"

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != cls.name:
            return None
        sys.meta_path.remove(cls)
        from importlib.util import find_spec

        spec = find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            bind = module.add_port_to_grpc_server
            module.add_port_to_grpc_server = lambda server, address: bind(
                server, address.replace("[::]:", "127.0.0.1:")
            )

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Loopback)
