"""What a cluster is: VM-Hosts, machines, components, pairs, access; loaded from YAML and checked whole."""
