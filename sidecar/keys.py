"""A new private key and a signing request for it, made in a process of its own. Never keeps, sends or logs them.

`python -m sidecar.keys` writes one JSON object {"key_pem": text, "csr": base64 of DER} to standard output. It stands alone
because the cryptography library would double the memory of the agent, which needs it for a moment an hour.
"""

from __future__ import annotations

import base64
import json
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def main() -> None:
    """Write the pair: EC P-256, PKCS#8 PEM, and a PKCS#10 request without names (the control plane decides those)."""
    if sys.stdout.isatty():
        sys.exit("sidecar.keys: this writes a private key, and standard output is a terminal; nothing was made")
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    der = csr.public_bytes(serialization.Encoding.DER)
    json.dump({"key_pem": pem.decode(), "csr": base64.b64encode(der).decode()}, sys.stdout)


if __name__ == "__main__":
    main()
