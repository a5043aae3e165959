"""Real hosts: the cluster with real daemons, each host in Linux namespaces of its own with systemd as PID 1."""
