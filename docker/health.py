"""Whether the database answers: Docker asks this of a container every 30 seconds.

Only a TCP connection is made, since importing DataJoint each time would cost a second of a core. That a worker makes
progress is told by its heartbeat in the database.
"""

import os
import socket
import sys

PORTS = {"postgresql": 5432, "mysql": 3306}


def main() -> int:
    """0 where it answers, or where no server is set; 1 where it does not."""
    host = os.environ.get("DJ_HOST")
    if not host:
        return 0
    port = os.environ.get("DJ_PORT") or PORTS.get(os.environ.get("DJ_BACKEND", "mysql"), 3306)
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        sys.stderr.write(f"No database answers at {host}:{port}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
