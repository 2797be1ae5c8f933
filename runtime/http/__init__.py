"""HTTP as every service speaks it: connections and their bounds, TLS, proxies, its description."""
