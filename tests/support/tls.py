"""Certificates of the tests' own, and relays that add TLS or a Unix socket to a server without."""

import asyncio
import datetime
import ipaddress
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
_CHUNK: Final = 1 << 16

Target = tuple[str, int]


class Certificates:
    """An authority, with a certificate for *names* of servers and one for a client, as files in *folder*."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.ca = folder / "ca.pem"
        self.server, self.server_key = folder / "server.crt", folder / "server.key"
        self.client, self.client_key = folder / "client.crt", folder / "client.key"
        authority_key = ec.generate_private_key(ec.SECP256R1())
        authority = _name("tests")
        ca = _certificate(authority, authority, authority_key, authority_key, (), is_authority=True)
        self.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        for certificate, key_file, subject, alternatives in (
            (self.server, self.server_key, "server", names),
            (self.client, self.client_key, "client", ()),
        ):
            key = ec.generate_private_key(ec.SECP256R1())
            signed = _certificate(_name(subject), authority, key, authority_key, alternatives)
            certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
            key_file.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )

    def server_context(self, *, asks_for_a_certificate: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server, self.server_key)
        if asks_for_a_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signing_key: ec.EllipticCurvePrivateKey,
    names: tuple[str, ...],
    *,
    is_authority: bool = False,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        # From Python 3.13 on, certificates without these are refused.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False
        )
        .add_extension(_key_usage(is_authority=is_authority), critical=True)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(list(map(_alternative, names))), critical=False
        )
    return builder.sign(signing_key, hashes.SHA256())


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Relay:
    """Forwards each connection to *target*. With *context* it speaks TLS, as PostgreSQL or as Redis does."""

    def __init__(
        self, target: Target, context: ssl.SSLContext | None = None, *, is_postgres: bool = True
    ) -> None:
        self._target = target
        self._context = context
        self._is_postgres = is_postgres

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._forward(reader, writer)
        finally:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = b""
        if self._context is not None and self._is_postgres:
            first = await reader.readexactly(len(_SSL_REQUEST))
            if first == _SSL_REQUEST:
                first = b""
                writer.write(b"S")
                await writer.start_tls(self._context)
        await pump_both_ways(reader, writer, self._target, first)


async def pump_both_ways(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target, first: bytes
) -> None:
    """Forward *first* and all that follows to *target*, and its replies back, until one side ends."""
    back, server = await asyncio.open_connection(*target)
    try:
        server.write(first)
        pumps = [asyncio.create_task(_pump(reader, server)), asyncio.create_task(_pump(back, writer))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
    finally:
        server.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        sink.write(chunk)
        await sink.drain()


@asynccontextmanager
async def relayed(
    target: Target,
    context: ssl.SSLContext | None = None,
    *,
    is_postgres: bool = True,
    socket: Path | None = None,
) -> AsyncIterator[int]:
    """Run a relay before *target*, on a port (which is yielded) or on the Unix *socket*."""
    relay = Relay(target, context, is_postgres=is_postgres)
    tls = None if is_postgres else context
    if socket is None:
        listener = await asyncio.start_server(relay.serve, "127.0.0.1", 0, ssl=tls)
        port = int(listener.sockets[0].getsockname()[1])
    else:
        listener, port = await asyncio.start_unix_server(relay.serve, socket), 0
    async with listener:
        yield port
