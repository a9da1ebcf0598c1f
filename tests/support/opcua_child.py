"""`python opcua_child.py PORT [NAME ...]`: a foreign OPC UA server, to be killed.

Each name is a variable that counts; the line "ready" says that it can be read.
"""

import asyncio
import sys

from asyncua import Server, ua

URI = "urn:example:plant"
TICK_S = 0.1


async def main(port: int, names: list[str]) -> None:
    """Serve until the process ends."""
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    nodes = [
        await server.nodes.objects.add_variable(ua.NodeId(name, index), name, ua.UInt64(0))
        for name in names
    ]
    async with server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        count = 0
        while True:
            count += 1
            for node in nodes:
                await node.write_value(ua.UInt64(count))
            await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
