"""Tells IP addresses from host names. Pure."""

import ipaddress

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_ip(text: str) -> IpAddress | None:
    """Return the address that *text* is; None if it is something else, such as a host name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
